"""What a user of a running service or of a model folder needs: SDK, `cxr`, evaluation."""
