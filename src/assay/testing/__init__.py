"""What others' tests call: whether a plug-in keeps what assay asks of it.

Each check runs the plug-in on a small model as a measurement or a search would, and raises one `AssertionError` that
names every promise that it breaks.
"""

from assay.testing.kinds import check_kind
from assay.testing.methods import check_method
from assay.testing.metrics import check_metric
from assay.testing.programs import check_program
from assay.testing.worlds import check_world

__all__ = ["check_kind", "check_method", "check_metric", "check_program", "check_world"]
