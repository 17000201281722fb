"""Hyperparameters found by trials: :func:`.study.tune`.

Nothing is imported here: :mod:`.search_space` is light, :mod:`.study` imports Optuna.
"""
