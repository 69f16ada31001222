"""From the bytes of a file to what the network takes, and from its heatmap back to a picture."""
