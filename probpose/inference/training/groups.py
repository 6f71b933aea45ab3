"""The groups of a training run's settings; the help of a setting says what it is."""

from __future__ import annotations

__all__ = ["AugmentationConfig", "DataConfig", "MachineConfig", "ModelConfig", "OptimiserConfig"]

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from probpose.data.datasets.catalogue import DATASETS
from probpose.errors import ConfigError
from probpose.inference.training.settings import Range, check_ranges, described, setting
from probpose.models.backbones.registry import BACKBONES, HUB_NAMES
from probpose.models.registry import FAMILIES, options_of
from probpose.models.residual_families import RESIDUALS

POSITIVE = Range(0, min_open=True)
SHARE = Range(0, 1)
LARGEST_CROP = 2**13
MOST_WORKERS = 1024


@dataclass(frozen=True)
class DataConfig:
    """What is trained and judged on; a label stands for the data set when annotation files are given."""

    dataset: str = setting("synthetic", "Data set.", choices=lambda: DATASETS)
    data_root: str | None = setting(None, "Folder of the data set.", unset="$PROBPOSE_DATA or ./data/NAME", path=True)
    train_annotations: str | None = setting(
        None, "Any COCO-format keypoint file to train on, instead of a data set.", path=True
    )
    val_annotations: str | None = setting(None, "One to judge on.", path=True)
    image_dir: str | None = setting(None, "Folder of their images.", unset="that of the file", path=True)
    flip_pairs: tuple[tuple[int, int], ...] | None = setting(
        None, "Left/right joints, 0-based: 1-2,3-4.", unset="from their names", range=Range(0)
    )
    category: str | None = setting(
        None, "Name or id of the one category of the annotations that counts.", unset="all with keypoints"
    )
    box_from: Literal["file", "labels", "image"] | None = setting(
        None,
        "Where persons are: the file says it, around their labels, or the whole image.",
        unset="the file; the labels where it has no box",
    )
    exif: bool = setting(
        False, "Turn images of the annotations as their EXIF orientation says, for labels made on turned images."
    )
    keep_wild: bool = setting(False, "Train on labels many boxes away from their box, or missing at (0, 0), too.")
    selection: float = setting(
        0.1,
        "Share of the training images that chooses the checkpoint.",
        range=Range(0, 1, min_open=True, max_open=True),
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        twice = [i for i, count in Counter(i for pair in self.flip_pairs or () for i in pair).items() if count > 1]
        if twice:
            raise ConfigError(f"flip_pairs: joint {twice[0]} is in several pairs, and has one mirror image at most.")


@dataclass(frozen=True)
class ModelConfig:
    """The network, the predictive density, and what is maximised."""

    backbone: str = setting(
        "small",
        "Image network; timm:NAME and hf:NAME are those of timm and transformers.",
        photos="resnet50",
        choices=lambda: BACKBONES,
        prefixes=HUB_NAMES,
    )
    weights: str | None = setting(
        None,
        "Backbone weights to start from, .pth or .safetensors, torchvision's names; `pretrained`: those of timm or hf.",
        path=True,
    )
    family: str = setting("regression", "Predictive family.", choices=lambda: FAMILIES)
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata=described("Of the family, where not at its default: see `probpose models`.", metavar="NAME=VALUE"),
    )
    residual: str = setting("rle", "Residual density; other families have their own.", choices=lambda: RESIDUALS)
    scale: Literal["diag", "full"] = setting("diag", "Sigma per axis, or a full triangle.")
    gauge: Literal["moment", "quantile", "native"] | None = setting(
        None, "What sigma means.", unset="the family's own", choices=lambda: ("moment", "quantile")
    )
    per_joint: bool = setting(False, "One residual density a joint instead of one for all.")
    laplace_until: float | None = setting(
        None,
        "Share of the epochs in which mu and L learn by a Laplace likelihood and R is fitted to their residuals.",
        unset="the family's own",
        range=SHARE,
    )
    location_by: Literal["likelihood", "laplace"] | None = setting(
        None, "What mu learns by then: the joint likelihood, or Laplace to the end.", unset="the family's own"
    )
    standardise: bool = setting(
        False, "The network predicts in units of the spread of the training targets, per joint and axis."
    )
    oks_weight: float = setting(0.0, "Lambda of likelihood + lambda E[oks], nats.", range=Range(0))
    pck_weight: float = setting(
        0.0, "The same of E[pck], within a fifth of the torso, which is taken as a quarter of the crop.", range=Range(0)
    )
    expected_by: Literal["exact", "pathwise", "gumbel", "straight-through", "score"] = setting(
        "exact", "How their gradient is found: by quadrature, or through draws, to compare."
    )
    robust: bool = setting(
        False,
        "Labels may be wrong (wide, at another joint, anywhere): the likelihood sums over how, at learned rates.",
    )
    exchanged_sides: bool = setting(
        False,
        "With --robust: left and right may be exchanged, too, from half of the epochs on; for networks that know them "
        "better than the labels do.",
    )
    prior: Literal["gaussian", "laplace"] | None = setting(None, "Of the network's weights, for maximum a posteriori.")
    prior_scale: float = setting(1.0, "Its standard deviation (gaussian) or scale (laplace).", range=POSITIVE)
    input_height: int = setting(64, "Rows of the crop, pixels.", photos=256, range=Range(1, LARGEST_CROP))
    input_width: int = setting(64, "Columns of the crop, pixels.", photos=192, range=Range(1, LARGEST_CROP))

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.standardise and (self.oks_weight or self.pck_weight or self.options.get("label_density")):
            raise ConfigError(
                "oks_weight, pck_weight and label_density measure in units of the crop: leave out standardise."
            )
        if self.pck_weight and self.expected_by not in ("exact", "score"):
            raise ConfigError("whether a draw is correct has no gradient along it: expect pck by exact or score.")
        if self.robust and self.standardise:
            raise ConfigError("robust expects wrong labels anywhere in the crop: leave out standardise.")
        options_of(self.family, self.options)


@dataclass(frozen=True)
class OptimiserConfig:
    """How long and how fast Adam goes, and what it keeps."""

    epochs: int = setting(24, "Passes over the training images.", photos=210, range=Range(1))
    batch_size: int = setting(64, "Persons a step, of all processes together.", photos=256, range=Range(2))
    lr: float = setting(1e-3, "Learning rate of Adam after the warm-up.", range=POSITIVE)
    residual_lr: float = setting(1.0, "Rate of R over the network's.", range=POSITIVE)
    schedule: Literal["step", "cosine"] = setting(
        "cosine", "Fall of the rate: to a tenth at each of --lr-steps, or to zero.", photos="step"
    )
    lr_steps: tuple[int, ...] = setting((), "Epochs at which `step` divides by 10.", photos=(170, 200), range=Range(1))
    warmup: int = setting(50, "Iterations over which the rate rises from 0.", photos=500, range=Range(0))
    clip_norm: float = setting(5.0, "Largest norm of the gradient; 0: any.", photos=0.0, range=Range(0))
    accumulate: int = setting(1, "Batches whose mean gradient makes one step.", range=Range(1))
    ema: float = setting(
        0.0,
        "Decay of the weights' moving average, such as 0.999, which is then judged and kept; 0: none.",
        range=Range(0, 1, max_open=True),
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class AugmentationConfig:
    """How training crops are varied."""

    flip: float | None = setting(
        None,
        "Probability of a mirrored crop; 0 mirrors none.",
        unset="0.5 where left/right pairs are known, otherwise 0",
        range=SHARE,
    )
    scale_jitter: float = setting(
        0.15, "Largest relative change of a crop's size, log-uniform.", photos=0.3, range=Range(0)
    )
    shift: float = setting(0.05, "Largest displacement, share of the crop.", photos=0.0, range=SHARE)
    rotation: float = setting(
        0.0, "Largest rotation, degrees; it smears R, which lives in the image's axes.", range=Range(0, 180)
    )
    half_body: float = setting(0.0, "Probability of the upper or lower half alone.", photos=0.3, range=SHARE)
    colour: float = setting(
        0.2, "Largest relative change of brightness, contrast and saturation.", photos=0.0, range=SHARE
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class MachineConfig:
    """Where it is computed, and with how many digits."""

    precision: Literal["fp32", "bf16", "auto"] = setting(
        "auto", "Of the backbone; the density is always fp32. auto: bf16 on a GPU that has it."
    )
    device: str = setting("auto", "Torch device, such as cpu or cuda:1. auto: a GPU that works, otherwise the CPU.")
    workers: int = setting(0, "Processes that cut crops.", photos=4, range=Range(0, MOST_WORKERS))
    augment_on: Literal["cpu", "device", "auto"] = setting(
        "auto",
        "Where training crops are cut and varied, within a grey level or two the same. auto: on a GPU if crops are "
        "packed, otherwise by the workers.",
    )
    sync_batch_norm: bool = setting(
        False, "Under torchrun: batch normalisation over the whole batch instead of each process's part of it."
    )

    def __post_init__(self) -> None:
        check_ranges(self)
