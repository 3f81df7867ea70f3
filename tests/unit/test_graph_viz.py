"""The drawing of a space's conditions."""

from sparktune import hp
from sparktune.graph_viz import dot_hyperparameters


def test_parameters_are_boxes_and_conditions_ellipses():
    """A condition hangs on its choice, a conjunction on its conditions, a parameter on what makes it active."""
    y = hp.uniform("y", 0, 1)
    text = dot_hyperparameters(hp.choice("c", [y, hp.choice("d", [hp.normal("z", 0, 1), y])]))
    assert text.splitlines() == [
        "digraph {",
        '"c" [shape=box];',
        '"y" [shape=box];',
        '"c=0" [shape=ellipse];',
        '"c=1" [shape=ellipse];',
        '"d=1" [shape=ellipse];',
        '"c=1 & d=1" [shape=ellipse];',
        '"d" [shape=box];',
        '"z" [shape=box];',
        '"d=0" [shape=ellipse];',
        '"c=1 & d=0" [shape=ellipse];',
        '"c" -> "c=0";',
        '"c=0" -> "y";',
        '"c" -> "c=1";',
        '"c=1" -> "c=1 & d=1";',
        '"d" -> "d=1";',
        '"d=1" -> "c=1 & d=1";',
        '"c=1 & d=1" -> "y";',
        '"c=1" -> "d";',
        '"c=1" -> "c=1 & d=0";',
        '"d" -> "d=0";',
        '"d=0" -> "c=1 & d=0";',
        '"c=1 & d=0" -> "z";',
        "}",
    ]


def test_one_label_in_two_options_is_one_box():
    """Each of the options that exclude each other points to the parameter that they share."""
    rate = [hp.uniform("rate", 0, 1) for _ in range(2)]
    text = dot_hyperparameters(hp.choice("c", [*rate, hp.choice("d", [rate[0], 2])]))
    assert text.count('"rate" [shape=box];') == 1
    assert [line for line in text.splitlines() if line.endswith('-> "rate";')] == [
        '"c=0" -> "rate";',
        '"c=1" -> "rate";',
        '"c=2 & d=0" -> "rate";',
    ]


def test_any_label_is_quoted():
    """Quotes and backslashes in a label are escaped."""
    assert '"a \\"b\\" \\\\c" [shape=box];' in dot_hyperparameters({"x": hp.uniform('a "b" \\c', 0, 1)})
