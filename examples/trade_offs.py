"""Recognise handwritten digits with a small forest: accuracy against size, two losses at once, in this process."""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from sparktune import STATUS_OK, Trials, fmin, hp

X, y = load_digits(return_X_y=True)
X_train, X_valid, y_train, y_valid = train_test_split(X, y, test_size=0.5, random_state=0)

MAX_NODES = 20_000  # what fits where the model has to run

space = {
    "n_estimators": hp.randint("n_estimators", 1, 81),
    "max_depth": hp.randint("max_depth", 2, 17),
    "max_features": hp.uniform("max_features", 0.05, 0.8),
}


def objective(params):
    forest = RandomForestClassifier(**params, random_state=0).fit(X_train, y_train)
    error = 1 - forest.score(X_valid, y_valid)
    n_nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    return {"status": STATUS_OK, "losses": [error, n_nodes], "constraints": [n_nodes - MAX_NODES]}


trials = Trials()
fmin(objective, space, max_evals=80, trials=trials, rstate=0, verbose=False)

front = trials.pareto_front
print("Forests of which none is both more accurate and smaller:\n")
print(" error   nodes")
for document in front:
    error, n_nodes = document["result"]["losses"]
    print(f"{error:6.1%} {n_nodes:7,.0f}")
print(f"\nhypervolume up to an error of 1 and {MAX_NODES:,} nodes: {trials.hypervolume([1.0, MAX_NODES]):,.0f}")

good = [document for document in front if document["result"]["losses"][0] < 0.06]
if good:
    print(f"smallest forest with an error below 6%: {good[-1]['result']['losses'][1]:,.0f} nodes")
