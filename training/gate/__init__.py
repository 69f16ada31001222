"""The input gate: a small network that knows what the model should not read.

phantom frontals, laterals, pictures -> [others, examples] -> gate network -> gate.onnx
Made from generated images alone; no real radiograph or photograph is in it.
"""
