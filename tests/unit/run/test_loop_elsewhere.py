"""Trials that are evaluated elsewhere than in the loop: by workers of the program's own, or by a subclass."""

import contextlib
import pickle
import threading

import pytest
from studies import states

from sparktune import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_NEW, Ctrl, Domain, FMinIter, Trials, fmin, hp, rand
from sparktune.base import spec_from_misc
from sparktune.early_stop import no_progress_loss
from sparktune.exceptions import SerializationError
from sparktune.run import saving
from sparktune.run.saving import save_atomically

X = hp.uniform("x", -5, 5)
ATTACHED = "FMinIter_Domain"


def iteration(trials, fn=lambda x: x, cls=FMinIter, **options):
    """An FMinIter over X by random search."""
    options = {"rstate": 0, "max_evals": 4, "poll_interval_secs": 0.0, "show_progressbar": False, **options}
    return cls(rand.suggest, Domain(fn, X), trials, **options)


def minimise(trials, fn=lambda x: x, **options):
    """A run of four trials."""
    return fmin(fn, X, rand.suggest, **{"max_evals": 4, "trials": trials, "rstate": 0, "verbose": False, **options})


def insert_two(trials):
    """Two trials that are no proposals of the run."""
    trials.insert_trial_docs(rand.suggest(trials.new_trial_ids(2), Domain(None, X), trials, 5))
    trials.refresh()


# -- the objective, where the documents say that it is -----------------------------------------------------------------


class Reading(Trials):
    """Trials whose workers read the objective from the attachments."""

    asynchronous = True

    def refresh(self):
        """Let the worker evaluate what is new, then refresh."""
        for document in self._dynamic_trials:
            if document["state"] == JOB_STATE_NEW:
                kind, name = document["misc"]["cmd"]
                assert kind == "domain_attachment"
                domain = pickle.loads(self.attachments[name])
                ctrl = Ctrl(self, current_trial=document)
                document["result"] = domain.evaluate(spec_from_misc(document["misc"]), ctrl)
                document["state"] = JOB_STATE_DONE
        super().refresh()


def test_workers_find_the_objective():
    """Where others evaluate, the domain is attached under the name that each document has in its cmd."""
    trials, plain = Reading(), Trials()
    factor = 3.0
    best = minimise(trials, lambda x: factor * x)
    assert best == minimise(plain, lambda x: factor * x)
    assert trials.losses() == plain.losses()


def test_the_objective_is_there_before_the_first_step():
    """Programs start their workers when they have made the loop; one that is made asynchronous later attaches too."""
    trials = Reading()
    iteration(trials)
    assert isinstance(trials.attachments[ATTACHED], bytes)
    later = Trials()
    iterator = iteration(later)
    assert not later.attachments
    iterator.asynchronous = True
    iterator.run(1, block_until_done=False)
    assert list(later.attachments) == [ATTACHED]


def test_each_run_attaches_its_own_objective():
    """The objective of an earlier run is replaced."""
    trials = Reading()
    minimise(trials, lambda x: 1.0, max_evals=1)
    minimise(trials, lambda x: 2.0, max_evals=2)
    assert trials.losses() == [1.0, 2.0]


@pytest.mark.parametrize("options", [{}, {"parallelism": 2}, {"backend": "processes"}])
def test_no_objective_is_attached_where_executors_of_ours_evaluate(options):
    """They have it already."""
    trials = Trials(**options)
    minimise(trials, max_evals=1)
    assert not trials.attachments


def test_the_protocol_of_the_pickle():
    """It is an attribute of the class, for workers with an older Python."""
    trials = Reading()
    iteration(trials, cls=type("Old", (FMinIter,), {"pickle_protocol": 2}))
    assert trials.attachments[ATTACHED][:2] == b"\x80\x02"
    assert FMinIter.pickle_protocol == -1


def test_an_objective_that_cannot_be_pickled():
    """That is said before the first trial, with what to do."""
    lock, trials = threading.Lock(), Reading()
    with pytest.raises(SerializationError, match=r"objective is pickled .* cannot be \(.*lock.*\): open files, locks"):
        minimise(trials, lambda x: lock.locked() + x, points_to_evaluate=[{"x": 1.0}])
    assert not states(trials)


def test_the_objective_is_no_part_of_a_kept_study(tmp_path):
    """A storage has the attachments of trials; whoever goes on with the study brings an objective."""
    path = tmp_path / "study.jsonl"
    minimise(Reading(storage=path), lambda x: {"loss": x, "status": "ok", "attachments": {"a": 1}}, max_evals=2)
    assert list(Trials.load(path).attachments) == ["ATTACH::0::a", "ATTACH::1::a"]
    trials = Reading(storage=path)
    minimise(trials, lambda x: 7.0)
    assert trials.losses()[2:] == [7.0, 7.0]


# -- what comes of trials that others evaluate -------------------------------------------------------------------------


class Later(Trials):
    """Trials that others end some time after they have been proposed: here, when somebody counts what is left to do."""

    asynchronous = True
    ends_as = JOB_STATE_DONE

    def count_by_state_unsynced(self, arg):
        """Let the worker finish what is new, then count."""
        for document in self._dynamic_trials:
            if document["state"] == JOB_STATE_NEW:
                document["result"] = {"status": "ok", "loss": float(document["tid"])}
                document["state"] = self.ends_as
                self.trial_attachments(document)["model"] = document["tid"]
        return super().count_by_state_unsynced(arg)


@pytest.mark.parametrize("ends_as", [JOB_STATE_DONE, JOB_STATE_ERROR])
def test_results_of_others_are_kept(tmp_path, ends_as):
    """A study whose trials others evaluate has their ends in its storage, with what is attached to the trials."""
    trials = Later(storage=tmp_path / "study.jsonl")
    trials.ends_as = ends_as
    minimise(trials, max_queue_len=2, return_argmin=False, max_evals=3)
    stored = Trials.load(tmp_path / "study.jsonl")
    assert states(stored) == states(trials) == [ends_as] * 3
    assert [document["result"]["loss"] for document in stored._dynamic_trials] == [0.0, 1.0, 2.0]
    assert list(stored.attachments.values()) == [0, 1, 2]


def test_results_of_others_are_saved(tmp_path):
    """trials_save_file has them as well, and a run that is started again does not propose them anew."""
    path = tmp_path / "trials.pickle"
    minimise(Later(), trials_save_file=path, max_evals=2)
    trials = pickle.loads(path.read_bytes())
    assert states(trials) == [2, 2]
    minimise(trials, trials_save_file=path)
    assert states(pickle.loads(path.read_bytes())) == [2, 2, 2, 2]


def test_a_run_of_fmin_that_is_made_asynchronous(monkeypatch):
    """Programs change how runs are made; their own threads evaluate then, and an objective need not be picklable."""
    made, lock = FMinIter.__init__, threading.Lock()

    def init(self, *args, **options):
        made(self, *args, **options)
        self.asynchronous, self.poll_interval_secs = True, 0.0

    monkeypatch.setattr(FMinIter, "__init__", init)
    trials = Later()
    trials.asynchronous = False
    minimise(trials, lambda x: lock.locked() / 0)
    assert trials.losses() == [0.0, 1.0, 2.0, 3.0]


def test_results_of_others_are_kept_though_the_run_is_interrupted(tmp_path):
    """What has ended by then is in the storage."""

    def interrupt(trials):
        trials.count_by_state_unsynced(0)  # and so all have ended
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimise(Later(storage=tmp_path / "study.jsonl"), early_stop_fn=interrupt)
    assert states(Trials.load(tmp_path / "study.jsonl")) == [2]


class Slow(Later):
    """Trials that others end when somebody counts for the second time."""

    taken = ()

    def count_by_state_unsynced(self, arg):
        """Let the worker finish what it has, and take what is new."""
        self.taken, ending = [document for document in self if document["state"] == JOB_STATE_NEW], self.taken
        for document in ending:
            document["result"], document["state"] = {"status": "ok", "loss": 1.0}, JOB_STATE_DONE
        return Trials.count_by_state_unsynced(self, arg)


def test_results_of_others_are_kept_of_what_is_inserted_meanwhile(tmp_path):
    """Points that a program inserts while the run waits are evaluated by the others, and kept, too."""

    def insert(trials):
        if len(trials) == 1:
            insert_two(trials)
        return False, []

    trials = Slow(storage=tmp_path / "study.jsonl")
    iteration(trials, early_stop_fn=insert, max_queue_len=1).exhaust()
    assert states(Trials.load(tmp_path / "study.jsonl")) == states(trials) == [2] * 6


# -- a serial_evaluate of a subclass's own -----------------------------------------------------------------------------


class Own(FMinIter):
    """Evaluates trials by itself."""

    calls = ()

    def serial_evaluate(self, N=-1):
        """A loss without the objective."""
        new = [document for document in self.trials._dynamic_trials if document["state"] == JOB_STATE_NEW]
        self.calls = (*self.calls, (N, len(new)))
        for document in new:
            document["result"], document["state"] = {"loss": 7.0, "status": "ok"}, JOB_STATE_DONE


class Wrapped(FMinIter):
    """Has something to say around each evaluation."""

    calls = ()

    def serial_evaluate(self, N=-1):
        """Ours, with a note."""
        self.calls = (*self.calls, (N, self.trials.count_by_state_unsynced(JOB_STATE_NEW)))
        super().serial_evaluate(N)


@pytest.mark.parametrize("max_queue_len", [1, 2, 9])
@pytest.mark.parametrize(("cls", "losses"), [(Own, [7.0] * 4), (Wrapped, [1.0] * 4)])
def test_a_subclass_evaluates(cls, losses, max_queue_len):
    """Each round's proposals are evaluated by the method, as many at once as may be queued."""
    iterator = iteration(Trials(), lambda x: 1.0, cls, max_queue_len=max_queue_len).exhaust()
    assert iterator.trials.losses() == losses
    n = min(max_queue_len, 4)
    assert iterator.calls == ((-1, n),) * (4 // n)


def test_points_that_wait_are_evaluated_by_the_subclass():
    """Also if nothing more is to be proposed."""
    iterator = iteration(Trials(), cls=Own)
    iterator.trials.insert_trial_docs(rand.suggest([0, 1], iterator.domain, iterator.trials, 0))
    iterator.run(0)
    assert (iterator.calls, iterator.trials.losses()) == (((-1, 2),), [7.0, 7.0])


def test_a_subclass_that_evaluates_nothing():
    """The run ends with what was to be proposed, as in hyperopt; it does not ask for evaluation over and over."""

    class Proposing(Own):
        def serial_evaluate(self, N=-1):
            assert not self.calls
            self.calls = (N,)

    iterator = iteration(Trials(), cls=Proposing, max_queue_len=4).exhaust()
    assert (iterator.calls, states(iterator.trials)) == ((-1,), [JOB_STATE_NEW] * 4)


def test_steps_evaluate_by_the_subclass():
    """Iterating runs one trial at a time."""
    iterator = iteration(Trials(), cls=Own)
    assert [trials.losses() for trials in iterator] == [[7.0], [7.0] * 2, [7.0] * 3]
    assert iterator.trials.losses() == [7.0] * 4


@pytest.mark.parametrize("give", [setattr, lambda iterator, name, method: setattr(type(iterator), name, method)])
def test_a_method_that_is_put_in_the_place_of_ours(give):
    """Programs replace it in an object that they have made, or in a class."""
    iterator = iteration(Trials(), cls=type("Plain", (FMinIter,), {"calls": ()}))

    def evaluate(*args):
        Own.serial_evaluate(iterator)

    give(iterator, "serial_evaluate", evaluate)
    assert iterator.exhaust().trials.losses() == [7.0] * 4


@pytest.mark.parametrize("cls", [FMinIter, Own, Wrapped])
def test_stop_rules_see_each_result_once(cls):
    """Whoever evaluates: after three equal losses there has been no progress for three trials."""
    iterator = iteration(Trials(), lambda x: 7.0, cls, max_evals=20, early_stop_fn=no_progress_loss(3)).exhaust()
    assert len(iterator.trials) == 3
    assert iterator.stop_reason == "early stopping condition"


@pytest.mark.parametrize("cls", [Own, Wrapped])
def test_a_threshold_ends_the_run_of_a_subclass(cls):
    """The rules hold as they do for the loop's own evaluations."""
    iterator = iteration(Trials(), lambda x: 7.0, cls, loss_threshold=8.0).exhaust()
    assert (len(iterator.trials), iterator.stop_reason) == (1, "loss threshold reached")


@pytest.mark.parametrize("cls", [FMinIter, Own, Wrapped])
def test_one_display_for_the_run(cls):
    """It is opened once, and told of each trial once."""
    opened, updates = [], []

    class Display:
        postfix = None

        def update(self, n):
            updates.append(n)

    @contextlib.contextmanager
    def display(**options):
        opened.append(options)
        yield Display()

    iteration(Trials(), cls=cls, show_progressbar=display).exhaust()
    assert opened == [{"initial": 0, "total": 4}]
    assert updates == [1, 1, 1, 1]


@pytest.mark.parametrize("cls", [Own, Wrapped])
def test_an_algorithm_that_proposes_no_more_ends_the_run_of_a_subclass(cls):
    """As it ends any run."""

    def algo(new_ids, domain, trials, seed):
        return [] if trials.tids else rand.suggest(new_ids, domain, trials, seed)

    iterator = iteration(Trials(), cls=cls)
    iterator.algo = algo
    assert len(iterator.exhaust().trials) == 1


@pytest.mark.parametrize("cls", [Own, Wrapped])
def test_what_a_subclass_has_evaluated_is_kept(tmp_path, cls):
    """Each result is in the storage, and in the file, once."""
    trials = Trials(storage=tmp_path / "study.jsonl")
    iteration(trials, cls=cls, trials_save_file=tmp_path / "trials.pickle").exhaust()
    assert states(Trials.load(tmp_path / "study.jsonl")) == [2] * 4
    assert (tmp_path / "study.jsonl").read_text().count('"event":"end"') == 4
    assert states(pickle.loads((tmp_path / "trials.pickle").read_bytes())) == [2] * 4


@pytest.mark.parametrize("cls", [FMinIter, Wrapped])
def test_trials_of_other_drivers_count_in_the_run_of_a_subclass(tmp_path, cls):
    """Whichever loop pulls them: here another driver runs a trial within each of ours."""
    url = f"sqlite:///{tmp_path}/study.db"
    other = iteration(Trials(storage=url), rstate=1, max_evals=10)
    iterator = iteration(Trials(storage=url), lambda x: (next(other, None), x)[1], cls, max_evals=10)
    iterator.exhaust()
    other._close_storage()
    assert states(Trials.load(url)) == [2] * 10


class Inserting(Own):
    """Finds two more points while it evaluates the first."""

    def serial_evaluate(self, N=-1):
        """Theirs come in the next round."""
        super().serial_evaluate(N)
        if len(self.calls) == 1:
            insert_two(self.trials)


def test_what_is_inserted_while_a_subclass_evaluates_is_kept(tmp_path):
    """The results of points that are no proposals of the run are in the storage, and in the file, as well."""
    trials = Trials(storage=tmp_path / "study.jsonl")
    iteration(trials, cls=Inserting, trials_save_file=tmp_path / "trials.pickle").exhaust()
    assert states(Trials.load(tmp_path / "study.jsonl")) == states(trials) == [2] * 6
    assert states(pickle.loads((tmp_path / "trials.pickle").read_bytes())) == [2] * 6


def test_stop_rules_are_asked_after_results_only():
    """Not where the algorithm proposes nothing more; nor is there anything to evaluate then."""
    asked = []

    def note(trials):
        asked.append(len(trials))
        return False, []

    iterator = iteration(Trials(), cls=Own, early_stop_fn=note)
    iterator.algo = lambda ids, domain, trials, seed: [] if trials.tids else rand.suggest(ids, domain, trials, seed)
    iterator.exhaust()
    assert (asked, iterator.calls) == ([1], ((-1, 1),))


@pytest.mark.parametrize("cls", [FMinIter, Own, Wrapped])
def test_the_file_is_not_written_whole_in_each_round(tmp_path, monkeypatch, cls):
    """Of a large study: with the first result and at the end, so that a trial costs the same however many there are."""
    written = []

    def write(trials, path):
        written.append(len(trials))
        save_atomically(trials, path)

    monkeypatch.setattr(saving, "SMALL", 0)
    monkeypatch.setattr(saving, "GROWTH", 100.0)
    monkeypatch.setattr(saving, "save_atomically", write)
    iteration(Trials(), cls=cls, trials_save_file=tmp_path / "trials.pickle").exhaust()
    assert written == [1, 4]
    assert states(pickle.loads((tmp_path / "trials.pickle").read_bytes())) == [2] * 4


def test_an_error_of_a_subclass_comes_out(tmp_path):
    """What has ended before is kept."""

    class Failing(Own):
        def serial_evaluate(self, N=-1):
            super().serial_evaluate(N)
            if len(self.calls) == 2:
                raise ZeroDivisionError

    trials = Trials(storage=tmp_path / "study.jsonl")
    with pytest.raises(ZeroDivisionError):
        iteration(trials, cls=Failing).exhaust()
    assert states(Trials.load(tmp_path / "study.jsonl")) == [2, 2]
