"""Claim files that are right, for tests to spoil."""

GOOD = """\
# a comment
model: zoo:novel-4l
task: {kind: text, split: test}
explanation:
  kind: program
  components:
    a1.h3: {program: induction, level: pattern}
    a1.h6: induction
ablation: [mean, resample_joint]
"""
KEEP = """\
model: zoo:novel-4l
task: {kind: repeat, n: 8}
explanation: {kind: keep, components: [a1.h3, m2, m3.n137]}
"""
