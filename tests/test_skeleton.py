"""Skeletons: pairs and scales from names."""

import random

import pytest

from probpose.errors import DataError
from probpose.skeleton import COCO, DEFAULT_OKS_SIGMA, Skeleton


def test_coco_pairs_and_scales() -> None:
    assert COCO.flip_pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    expected = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
    assert COCO.oks_sigmas == tuple(value / 1000 for value in expected)
    assert len(COCO.edges) == 19


def test_flip_permutation_is_an_involution() -> None:
    order = COCO.flip_permutation
    assert [order[i] for i in order] == list(range(17))
    assert order[0] == 0
    assert order[5] == 6


@pytest.mark.parametrize(
    "names", [("Left Paw", "Right Paw"), ("l_paw", "r_paw"), ("paw_L", "paw_R"), ("pawleft", "pawright")]
)
def test_pairs_from_names(names: tuple[str, str]) -> None:
    skeleton = Skeleton.from_names(("tail", *names))
    assert skeleton.flip_pairs == ((1, 2),)
    assert skeleton.oks_sigmas[0] == DEFAULT_OKS_SIGMA


def test_given_pairs_win() -> None:
    assert Skeleton.from_names(("left_a", "right_a", "b"), flip_pairs=[(0, 2)]).flip_pairs == ((0, 2),)


def test_index() -> None:
    assert COCO.index("left_hip") == 11
    assert COCO.index("tail") is None


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match=r"\(0, 5\) is out of range"):
        Skeleton.from_names(("a", "b"), edges=[(0, 5)])
    with pytest.raises(DataError, match="2 joints but 1 OKS"):
        Skeleton(("a", "b"), (), (), (0.1,))


@pytest.mark.parametrize(
    "names",
    [
        ("wingL", "wingR"), ("L hip", "R hip"), ("LHip", "RHip"), ("hip.L", "hip.R"), ("lEye", "rEye"),
        ("F_L_paw", "F_R_paw"), ("paw_L1", "paw_R1"), ("LF_paw", "RF_paw"), ("leftEye", "RightEye"), ("FL", "FR"),
        ("Left", "RIGHT"), ("left_eye", "right_eye "), ("eye-left", "eye right"), ("Lt ankle", "Rt ankle"),
        ("L.Hip", "R.Hip"), ("paw(L)", "paw(R)"), ("eyeL1", "eyeR1"), ("hipl", "hipr"), ("LFpaw", "RFpaw"),
        ("front left paw", "front right paw"), ("left_ear_left_tip", "right_ear_right_tip"), ("lhip", "rhip"),
        ("left_eye_right_corner", "right_eye_left_corner"),
    ],
)  # fmt: skip
def test_sides_are_found_in_the_usual_spellings(names: tuple[str, str]) -> None:
    assert Skeleton.from_names(("nose", *names)).flip_pairs == ((1, 2),)
    assert Skeleton.from_names((*names[::-1], "tail")).flip_pairs == ((1, 0),)


@pytest.mark.parametrize(
    "names",
    [
        ("face-0", "face-16"), ("left_eye_right_corner", "left_eye_left_corner"), ("bright", "dark"), ("L1", "L2"),
        ("left_eye", "Left Eye", "right_eye"), ("", "x"), ("nose", "tail"), ("\u5de6\u624b", "\u53f3\u624b"),
    ],
)  # fmt: skip
def test_names_that_do_not_tell_have_no_pairs(names: tuple[str, ...]) -> None:
    assert Skeleton.from_names(names).flip_pairs == ()


def test_pairs_from_names_are_an_involution() -> None:
    parts = ("", "l", "r", "L", "R", "left", "right", "eye", "_l", "_R", " Left", "corner", "1")
    rng = random.Random(0)
    for _ in range(300):
        names = ["".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(rng.randint(2, 12))]
        order = Skeleton.from_names(names).flip_permutation
        assert [order[i] for i in order] == list(range(len(names))), names


@pytest.mark.parametrize("pairs", [[(0, 1), (1, 2)], [(0, 1), (0, 1)], [(1, 1)]])
def test_a_joint_in_two_pairs_is_refused(pairs: list[tuple[int, int]]) -> None:
    with pytest.raises(DataError, match=r"is in the flip pairs .*: a joint has one mirror image"):
        Skeleton.from_names(("a", "b", "c"), flip_pairs=pairs)


@pytest.mark.parametrize("sigma", [0.0, -0.1, float("nan"), float("inf")])
def test_oks_sigmas_are_positive(sigma: float) -> None:
    with pytest.raises(DataError, match=r"the OKS sigma of b is .*: give a positive number"):
        Skeleton(("a", "b"), (), (), (0.1, sigma))


def test_oks_sigmas_follow_the_part_whatever_the_spelling() -> None:
    names = ("LHip", "hip.R", "Left Hip", "l_hip", "hipL", "tail", "rear", "RShoulder")
    skeleton = Skeleton.from_names(names)
    assert skeleton.oks_sigmas == (*[0.107] * 5, *[DEFAULT_OKS_SIGMA] * 3)
    assert skeleton.default_sigmas == ["tail", "rear"]
