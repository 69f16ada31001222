"""Notes on a reading: what it says for the metrics, what kind of image it is of for the log."""

from service.model.reader import Reading
from service.observe.metrics import FAMILIARITY, PROBABILITY
from service.observe.request import current


def note_reading(reading: Reading) -> None:
    """Count a reading that will be answered."""
    PROBABILITY.observe(reading.probability)
    familiarity = getattr(reading, "familiarity", None)
    if familiarity is not None:
        FAMILIARITY.observe(familiarity)
    facts = current()
    if facts.images is None:
        facts.format = reading.radiograph.format
        facts.rows, facts.columns = reading.radiograph.rows, reading.radiograph.columns
