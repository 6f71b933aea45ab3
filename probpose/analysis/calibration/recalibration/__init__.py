"""Recalibrations: what turns predictions into ones whose uncertainty can be believed."""
