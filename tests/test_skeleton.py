"""Skeletons: pairs and scales from names."""

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
