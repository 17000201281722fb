"""From rows to rows that a model can learn from: splits, missing values, classes of unequal size."""
