"""One scorer for every system of every kind: what is scored, against what, and the sums that come of it."""
