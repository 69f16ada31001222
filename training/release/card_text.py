"""The words of the model card; :mod:`training.release.card` fills them in."""

CARD = """\
# nanocxr {name}, version {version}

**Research software, not a medical device.** It must not be used for diagnosis, triage or treatment.

## What it is

{network} with one output that scores pneumonia on one frontal chest radiograph (PA or AP).
It was trained on synthetic images alone{also}. In one forward pass the graph (`{graph}`, ONNX,
{precision}) gives the logit, a heatmap (Grad-CAM on the last convolutional layer, in units of the
logit) and the pooled features.

- Input: {size} x {size} pixels, one channel, the central {crop:.0%} of each side{equalised}.
- Output: probability = sigmoid(logit / {temperature:.4f}{bias}).
{parts}
## Data and recipe

{generators}Random seed: {seed}.

{counts}

The two images of a pair are never in different splits. Start weights: {init}. Everything else about
the recipe, the versions of the software and the SHA-256 of the data set's manifest are in
`manifest.json` under `provenance`.

## Measures on the synthetic validation split

At the operating point `{default}`; 95 % intervals by bootstrap over pairs.

{measures}

These say how well the network learned the generator, **not** how it reads real radiographs.
{real}{failures}
## What it refuses

{refusals}

## Calibration and operating points

Temperature scaling on the synthetic calibration split: negative log-likelihood {nll_before:.4f}
nats before, {nll_after:.4f} after. Thresholds on the calibrated probability, with what they reached
on that split:

{points}

## Limits

- Temperature and thresholds are fitted on synthetic images in which about half show pneumonia. On
  real radiographs the scores shift, and prevalence is lower: neither the probability nor the
  sensitivity and specificity above carry over. Choose a threshold on data of your own before any
  study.
- Only pneumonia is scored. Other findings (effusion, oedema, atelectasis, masses, devices) were
  never labelled and may raise or lower the score.
- The heatmap shows where the evidence for the score lies on a coarse grid. It is not a
  segmentation.
- Performance by age, sex, projection, device or site is not known from synthetic data.
"""


MEMBERS = """\
- {number} networks read together, and err differently:
{networks}
  Logit and heatmap are means over them, each first brought to the same spread of logits on the
  synthetic calibration split; the features are those of the first.
"""

LUNG_DETAIL = """\
- To the logit is added {gain:.2f} x ({centre:.2f} - detail){times}. The lung detail is the
  logarithm of how strongly vessels and ribs show inside the lung fields: consolidation obscures
  them. A small U-Net, trained on the phantom's lungs, finds the fields. Centre and gain give the
  term the mean 0 and {weight:g} times the spread of the logits on {whose} of the synthetic
  calibration split; no label is used.
{child}- **The heatmap does not show the lung detail**, and {film} that is smooth for another reason
  (motion, filtering, fat) scores higher.
"""

FOR_CHILDREN = {
    "times": " x child",
    "whose": "children",
    "film": "a child's film",
    "child": """\
- Child, between 0 and 1, is how surely the features of the networks tell a child's film from an
  adult's, by a logistic regression on the synthetic training split. In an adult's film the lung
  detail has next to no weight: there it misleads.
""",
}
FOR_ALL = {"times": "", "whose": "all images", "film": "a film", "child": ""}

BY_HEADER = """\
Lateral views, other body parts and other modalities are refused where the file's header tells; a
PNG or JPEG tells nothing."""

BY_PIXELS = """\
{by_header} So a second, small network (`{graph}`, {weights:,}
weights, the same input) judges the pixels: `familiarity` in [0, 1]. Below {threshold:.3f} there is
no reading. It learned to tell films of this generator from the same upside down, inverted
and turned, from lateral views, several films on one image, parts of films, and drawn pictures of
everything else; no real radiograph and no photograph was used. The threshold refuses {share:.0%} of
the other images that were held out:

{table}

It judges what an image shows roughly, not whether it is fit to be read: a film of poor quality, or
with left and right exchanged, passes. What it does to real images is in `docs/experiments.md`."""

PHOTOGRAPHED = "ImageNet"  # in the name of start weights
PHOTOGRAPHS = ", from start weights that\nhad learned to tell the things in photographs"

USE_OF_REAL_IMAGES = """\
Real radiographs were used for measuring only: none was trained on, and no parameter, temperature or
threshold was fitted to one. But generator and recipe were changed by hand after looking at these
films, at which were read wrongly, and at how their lung brightness and edge energy differ by class;
variants were kept or dropped by their AUROC here. The figures are those of a development set, and
optimistic."""
