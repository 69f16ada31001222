"""From a design of images to a model's folder.

Unless ORT_DISABLE_TELEMETRY is set before it is imported, onnxruntime sends its makers events.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
