"""The logger "assay", to which everything that assay does is said: `logging.getLogger("assay")` turns it on.

Whoever does not ask for it hears notices alone (`errors.notice`), on stderr. INFO: models that are opened, stages of a
measurement, runs that are written.
"""

from __future__ import annotations

import logging

log = logging.getLogger("assay")
