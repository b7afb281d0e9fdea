"""Scoring: scenes, models and perturbations to rows."""
