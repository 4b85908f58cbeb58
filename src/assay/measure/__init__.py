"""The yardsticks, and `measure`, which applies them: what `assay.measure` is."""
