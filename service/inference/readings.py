"""Notes on a reading: what it says for the metrics, what kind of image it is of for the log."""

from service.errors import UnfamiliarImage
from service.model.reader import Reading
from service.observe.metrics import FAMILIARITY, PROBABILITY
from service.observe.request import current


def note_reading(reading: Reading) -> None:
    """Count a reading that will be answered."""
    PROBABILITY.observe(reading.probability)
    if reading.familiarity is not None:
        FAMILIARITY.observe(reading.familiarity)
    facts = current()
    if facts.images is None:
        facts.format = reading.radiograph.format
        facts.rows, facts.columns = reading.radiograph.rows, reading.radiograph.columns


def note_refusal(refusal: UnfamiliarImage) -> None:
    """Count what the gate refuses: where the input drifts, it is refused first."""
    FAMILIARITY.observe(refusal.familiarity)
