"""From a model's folder to readings.

Unless ORT_DISABLE_TELEMETRY is set before it is imported, onnxruntime sends its makers events with
an identifier that it keeps in the home folder. The function it has for that comes after the first
event.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
