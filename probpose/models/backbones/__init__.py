"""Backbones: image networks that give feature maps."""

from probpose.models.backbones.registry import build_backbone

__all__ = ["build_backbone"]
