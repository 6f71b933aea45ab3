"""Backbones: image networks that give feature maps."""
