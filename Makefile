# Two environments: .venv-serve holds only what serving needs, .venv everything else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 3000
MODEL ?= models/default/1
CONFIG ?= training/configs/default.toml
RUN ?= runs/default
BIN := .venv/bin
SERVE := .venv-serve/bin
DEPLOY := .venv-deploy/bin

export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1
# Where it is set, each of the hundreds of processes that tests start compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test browser dicom-tools check train ablate package bench container container-test pin lock clean

.venv/.ready: pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

.venv-serve/.ready: pyproject.toml requirements/serve.txt
	$(PYTHON) -m venv .venv-serve
	$(SERVE)/pip install --quiet -r requirements/serve.txt
	touch $@

.venv-serve/.proved: .venv-serve/.ready  # the model reads here as where it was packaged
	@CXR_MODEL=$(MODEL) $(SERVE)/python -m service.doctor || { echo \
	"STOP: the service does not start, since the doctor does not let the model or a setting pass (above)." >&2; exit 1; }
	@touch $@

.venv-deploy/.ready: pyproject.toml requirements/serve.txt requirements/deploy.txt
	$(PYTHON) -m venv .venv-deploy
	$(DEPLOY)/pip install --quiet -r requirements/serve.txt -r requirements/deploy.txt
	touch $@

serve: .venv-serve/.proved  ## start the service on PORT
	@echo "Starting on http://localhost:$(PORT) (research software, not a medical device). Try:"
	@echo "  curl -F image=@examples/phantom-pneumonia.dcm http://localhost:$(PORT)/predict"
	@echo "or open http://localhost:$(PORT)/ui/ in a browser."
	CXR_LOG=text CXR_MODEL=$(MODEL) $(SERVE)/bentoml serve service.app:ChestXray --host 127.0.0.1 --port $(PORT)

test: .venv/.ready browser dicom-tools  ## every test, three at a time but for those that must be alone; both runs always
	@failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not alone and not container" --ignore tests/container -n 3 --dist loadfile || failed=1; \
	$(BIN)/python -m pytest -m "alone and not container" tests/e2e || failed=1; \
	exit $$failed

browser:  ## Chromium for the tests of /ui, where it can be installed
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	command -v $$name > /dev/null && exit 0; done; \
	{ test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get update -qq \
	&& apt-get install -qq --no-install-recommends chromium fonts-liberation; } \
	|| echo "There is no Chromium: the tests of /ui are skipped, or fail if NANOCXR_REQUIRE_BROWSER=1."

DICOM_TOOLS := dcmtk dicom3tools libpixelmed-java default-jre-headless orthanc orthanc-dicomweb strace
dicom-tools:  ## programs that judge DICOM objects, for the tests of clients/dicom, where they can be installed
	@command -v dciodvfy > /dev/null && command -v dsrdump > /dev/null && command -v java > /dev/null \
	&& command -v strace > /dev/null && test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so && test -e /usr/share/java/pixelmed.jar && exit 0; \
	{ test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get update -qq \
	&& apt-get install -qq --no-install-recommends $(DICOM_TOOLS); } \
	|| echo "DICOM tools are missing ($(DICOM_TOOLS)): their tests are skipped, or fail if NANOCXR_REQUIRE_DICOM_TOOLS=1."

check: .venv/.ready  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2

VOLUMES ?= data/volumes
train: .venv/.ready  ## generate the data sets, with CTs in VOLUMES, and train by CONFIG; goes on where it stopped
	$(BIN)/cxr-train generate data/phantom --pairs 3000 --seed 1
	$(BIN)/cxr-train generate data/ct --generator ct --volumes $(VOLUMES) --pairs 2000 --seed 2
	$(BIN)/cxr-train join data/default data/phantom data/ct
	$(BIN)/cxr-train fit training/configs/first.toml --run runs/first
	$(BIN)/cxr-train fit $(CONFIG) --run $(RUN)

ABLATIONS := base seed grey edges both no-mask no-augmentation pairs passes size resnet50
ablate: .venv/.ready  ## train short runs that differ in one choice, compare them on DATA=labels.csv
	$(BIN)/cxr-train generate data/small --pairs 1000 --seed 1
	$(BIN)/cxr-train experiment training/configs/ablations/base.toml \
	$(foreach name,$(ABLATIONS),--arm $(name)=training/configs/ablations/$(name).toml) \
	--runs runs/ablations --models runs/ablations/models --out runs/ablations/report \
	--data $(DATA) --by source

# Where `package` writes: the name may come from the base of CONFIG, so the configuration itself is asked, once.
PACKAGED = $(eval PACKAGED := models/$(shell $(BIN)/python -c 'from pathlib import Path; from training.config import Config; print(Config.load(Path("$(CONFIG)")).name)')/1)$(PACKAGED)
FAILURES = $(if $(filter models/default/1,$(PACKAGED)),docs/failures.md)
package: .venv/.ready  ## export, package, gate and verify the run of CONFIG; its card has MEASURES (cxr evaluate --json)
	$(BIN)/cxr-train export $(CONFIG) --run $(RUN)
	$(BIN)/cxr-train package $(CONFIG) --run $(RUN) --replace
	$(BIN)/cxr-train gate $(CONFIG) $(PACKAGED)
	$(BIN)/cxr-train card $(PACKAGED) $(MEASURES:%=--measures %) $(FAILURES:%=--failures %)
	$(BIN)/cxr-train verify $(CONFIG) $(PACKAGED) --run $(RUN)

BENCHMARKS := decode generate gradcam observing overload scoring serving strangers train hostile
bench: .venv/.ready  ## those that need no data of yours, no browser and no DICOM tools; memory is run alone
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

container: .venv-deploy/.ready  ## Bento, image, SBOM and audit; GPU=1 for CUDA, BASE=image, OPTIONS="--advisories=ZIP"
	$(DEPLOY)/python -m deploy.build $(if $(GPU),--gpu) $(if $(BASE),--base $(BASE)) $(OPTIONS)

container-test: .venv/.ready  ## start the image that `make container` built and read a DICOM with it
	$(BIN)/python -m pytest -m container tests/container

pin: .venv-deploy/.ready  ## digests for the images that others publish, where a hub is reached
	$(DEPLOY)/python -m deploy.pin

lock: .venv-deploy/.ready  ## the requirements of the image with their hashes, after a change of serve.txt
	$(DEPLOY)/python -m deploy.lock

clean:
	rm -rf .venv .venv-serve .venv-deploy build dist *.egg-info
