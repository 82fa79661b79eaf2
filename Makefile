# Patched FLANNEL. `make help` lists the commands; README.md shows the way.
BASH := $(or $(wildcard /bin/bash),$(shell command -v bash))
$(if $(BASH),,$(error make needs bash, and finds none: install it (apt-get install bash, apk add bash)))
SHELL := $(BASH)
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready

STUDY  ?= runs/study
FOLD   ?= 0
CPU    ?= 0
PORT   ?= 8765
ARM    ?= global,patched
LEARNER ?= all
FORM   ?=
SEEDS  ?= 1
SEEDING ?=
DEVICES ?= 1
SPLIT  ?= patient
SEED   ?= 1
MAPPING ?= flannel
STRICT ?= false
SIZE   ?= 1024
RESIZE ?= stretch
RENEW  ?= false
LISTS  ?=
RUN    ?= original
SEGMENTER ?= fc_densenet103
SEGMENTERS ?= fc_densenet103 unet_resnet18
APPEND ?=
REDO   ?= false
DATA   ?= data/radiographs
MASKS  ?=
REFERENCE_MASKS ?=
CKPT   ?=
IMAGE  ?=
OUT    ?=
STUDY_NAME ?=
MINUTES ?= 10

# What the environment of the commands may be given on the command line beside these variables.
ENVIRONMENT := LOGGER WANDB_% CUDA_% OMP_% MKL_% TORCH_% ONEDNN_% ATEN_% NCCL_% UV_% PIP_% PYTHON% SLURM_% LC_% LANG TMPDIR HOME PATH \
  TZ DISPLAY %_proxy %_PROXY REPRO_% FLANNEL_%
VARIABLES := $(shell sed -nE 's/^([A-Z_]+) *\?=.*/\1/p' $(firstword $(MAKEFILE_LIST)))

# Functions of make take a space for the end of a name, so it is hidden from them.
empty :=
space := $(empty) $(empty)
hidden = $(subst $(space),␠,$(1))
shown = $(subst ␠,$(space),$(1))
# One word for the shell, whatever is in it: $(call quoted,$(STUDY)).
special := ␠ ' " $$ ` & ; ( ) < > * ? [ ] { } \# ! | \ ~
quoted = $(if $(strip $(foreach mark,$(special),$(findstring $(mark),$(call hidden,$(1))))),'$(subst ','\'',$(1))',$(1))
# The last part of a path, without its suffix.
stem = $(call shown,$(notdir $(basename $(patsubst %/,%,$(call hidden,$(1))))))

# An option only where its variable has a value, or was given: $(call option,data,$(DATA)), $(call given,fold,FOLD).
option = $(if $(2),--$(1)=$(call quoted,$(2)))
given = $(if $(filter-out file default undefined,$(origin $(2))),$(call option,$(1),$($(2))))
study = --study=$(call quoted,$(STUDY))
study_or = $(if $(filter runs/study,$(call hidden,$(STUDY))),$(1),$(STUDY))
appended = $(call option,append,$(APPEND))

# Whether the study has a manifest; a stage that needs one first makes what `make data` makes.
made := $(or $(FLANNEL_MANIFEST),$(shell test -f $(call quoted,$(STUDY)/manifest.csv) && echo made))
# What lungs are learnt from: a trained segmenter before any masks, named masks before those in data/.
masks_there := data/lung_masks
learnt_from := $(if $(CKPT),,$(or $(MASKS),$(shell test -d $(masks_there) && echo $(masks_there))))
named = $(filter command line,$(origin $(1)))
# One choice of logger for all stages: wandb, tensorboard, mlflow or csv.
ifneq ($(call named,LOGGER),)
export FLANNEL_LOGGER := $(LOGGER)
endif
unlearnt := $(strip $(foreach name,MASKS SEGMENTER APPEND REDO,$(if $(call named,$(name)),$(name)=$($(name)))))

# A word that was meant for another would be passed over in silence: the nearest one is named.
nearest = $(shell $(PYTHON) -c 'import difflib, sys; names = {name.lower(): name for name in sys.argv[2:]}; print(names[difflib.get_close_matches(sys.argv[1].lower(), names, 1, 0)[0]])' $(call quoted,$(1)) $(2))
on_command_line = $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
unknown := $(filter-out $(VARIABLES) $(ENVIRONMENT) SHELL MAKEFLAGS,$(on_command_line))
ifneq ($(unknown),)
$(error $(foreach name,$(unknown),There is no variable $(name): did you mean $(call nearest,$(name),$(VARIABLES))?) See make help)
endif

# The variables that each target takes: another one on its command line would be passed over in silence.
takes_setup := CPU PYTHON
takes_help := STUDY FOLD ARM LEARNER SEEDS DEVICES SPLIT MAPPING SIZE RESIZE REDO
takes_audit := STUDY
takes_data := DATA STUDY SPLIT MAPPING SEED STRICT LISTS RUN SIZE RESIZE RENEW
takes_segmenters := STUDY MASKS SEGMENTERS APPEND REDO
takes_segment := STUDY MASKS CKPT SEGMENTER REFERENCE_MASKS APPEND REDO
takes_base-models := STUDY FOLD ARM LEARNER SEEDS SEEDING DEVICES REDO APPEND
takes_matched := $(filter-out ARM APPEND,$(takes_base-models))
takes_ensemble := STUDY FOLD ARM LEARNER FORM SEEDS SEEDING REDO APPEND
takes_compare := STUDY LEARNER
takes_predict := IMAGE STUDY FOLD ARM LEARNER FORM REDO OUT
takes_app := STUDY FOLD ARM LEARNER PORT
takes_saliency := STUDY FOLD ARM LEARNER
takes_bundle := STUDY FOLD ARM LEARNER OUT REDO
takes_dashboard := STUDY REDO
takes_patch-study := STUDY
takes_study := $(takes_data) $(takes_segment) $(takes_base-models) $(takes_ensemble) $(takes_compare)
takes_demo := STUDY LEARNER SEED REDO
takes_real-small := $(filter-out APPEND,$(takes_study))
takes_related := STUDY_NAME STUDY FOLD LEARNER ARM SEEDING DEVICES REDO APPEND DATA MASKS CKPT
takes_fuzz := MINUTES
ifeq ($(MAKELEVEL),0)
goals := $(or $(MAKECMDGOALS),$(.DEFAULT_GOAL))
taken := $(sort $(foreach goal,$(goals),$(takes_$(goal))))
idle := $(filter-out $(taken) $(takes_setup) $(ENVIRONMENT),$(filter $(on_command_line),$(VARIABLES)))
ifneq ($(idle),)
$(error make $(goals) takes no $(idle). It takes $(or $(taken),no variable))
endif
endif
ifneq ($(APPEND),)
ifneq ($(shell test -d $(call quoted,$(APPEND)) && echo folder),folder)
$(error APPEND is $(APPEND): that is no folder)
endif
unused := $(shell cd $(call quoted,$(APPEND)) && ls | grep -E '\.ya?ml$$' | grep -vxE '(base|base_.+|ensemble|segmentation)\.yaml' | head -n 1)
ifneq ($(unused),)
$(error $(APPEND)/$(unused) is appended to no recipe. Did you mean $(call nearest,$(unused),base.yaml base_ARM.yaml base_LEARNER.yaml ensemble.yaml segmentation.yaml)?)
endif
endif
# The file that APPEND has for the segmenter.
segmentation_config = $(if $(APPEND),$(shell test -f $(call quoted,$(APPEND)/segmentation.yaml) && echo --config=$(call quoted,$(call quoted,$(APPEND)/segmentation.yaml))))

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo
	@echo "variables: STUDY=$(STUDY) FOLD=$(FOLD)|all ARM=$(ARM) LEARNER=$(LEARNER) SEEDS=$(SEEDS)|1,2,3 DEVICES=$(DEVICES)"
	@echo "           SPLIT=$(SPLIT)|paper|nested|given|leave-source-out|external MAPPING=$(MAPPING)|wide|folders|FILE.csv|... SIZE=$(SIZE)"
	@echo "           RESIZE=$(RESIZE)|letterbox STUDY_NAME=covid_qu_ex|... APPEND=folder REDO=$(REDO) WANDB_MODE=offline|online|disabled"

# The environment, built once from the lock file. CPU=1 leaves CUDA out: uv knows where PyTorch's builds for CPUs are;
# the lock file has their versions, but not their hashes.
ifneq ($(filter-out 0 1 true false,$(CPU)),)
$(error CPU is "$(CPU)"; expected 1 for an environment without CUDA, or 0)
endif
without_cuda = $(filter 1 true,$(CPU))
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Say make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV) once: $(if $(without_cuda),1.5 GB without CUDA,8 GB with CUDA (make setup CPU=1 takes 1.5 GB)), one to ten minutes by the network."
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	awk '/^uv==/ {on = 1} on; on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
ifneq ($(without_cuda),)
	awk '/^[a-z0-9]/ {on = !/^(torch|torchvision|triton)==|^(nvidia|cuda)-/} on' requirements.lock > $(VENV)/cpu.lock
	$(VENV)/bin/uv pip install --quiet --python $(PY) --compile-bytecode --no-deps --require-hashes -r $(VENV)/cpu.lock
	$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --torch-backend=cpu \
	  $$(awk '/^(torch|torchvision)==/ {print $$1}' requirements.lock)
else
	$(VENV)/bin/uv pip install --quiet --python $(PY) --compile-bytecode --require-hashes -r requirements.lock
endif
	$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: setup
setup: $(READY) ## build .venv from the lock file; CPU=1: without CUDA, 1.5 GB instead of 8

# --- The stages, each reading what the one before left in STUDY ---

.PHONY: data
data: $(READY) ## raw sources in DATA (data/radiographs) -> manifest.csv, folds, store, audit.html
	$(PY) -m flannel manifest --data=$(call quoted,$(DATA)) $(study) --protocol=$(SPLIT) --mapping=$(call quoted,$(MAPPING)) --seed=$(SEED) \
	  --strict=$(STRICT) $(if $(LISTS),$(call option,lists,$(LISTS)) --run=$(RUN))
	$(PY) -m flannel store $(study) --size_px=$(SIZE) --resize=$(RESIZE) --renew=$(RENEW)
	$(MAKE) audit

.PHONY: audit
audit: $(READY) ## audit.html: contents of the cohort, leaks between its splits, shortcuts
	$(PY) -m flannel audit $(study)

.PHONY: segment
segment: $(READY) ## all lung masks, by CKPT=file, by training on MASKS=folder (data/lung_masks), or by the shipped network
	$(if $(made),,$(MAKE) data)
ifneq ($(and $(CKPT),$(unlearnt)),)
	@echo $(call quoted,$(CKPT) finds the lungs; not used here: $(unlearnt))
endif
ifneq ($(learnt_from),)
	@echo $(call quoted,$(SEGMENTER) learns lungs from $(learnt_from).) "FC-DenseNet103 takes up to five hours for 138 radiographs" \
	  "on two CPU cores (estimated); CKPT=file takes a trained segmenter."
	$(PY) -m segmentation fit --config=experiments/segmentation/$(SEGMENTER).yaml \
	  $(segmentation_config) \
	  --data.folder=$(call quoted,$(learnt_from)) $(study) --redo=$(REDO)
endif
	$(PY) -m segmentation predict $(study) $(call option,segmenter,$(or $(CKPT),$(if $(learnt_from)$(call named,SEGMENTER),$(STUDY)/segmentation/$(SEGMENTER)/best.ckpt)))
ifneq ($(REFERENCE_MASKS),)
	$(PY) -m segmentation import $(study) --folder=$(call quoted,$(REFERENCE_MASKS))
endif
	$(MAKE) audit

.PHONY: segmenters
segmenters: $(READY) ## MASKS=folder: train several segmenters on it and put them into one table
	$(if $(MASKS),,@echo "error: say what to learn lungs from: make segmenters MASKS=folder" >&2; exit 2)
	for name in $(SEGMENTERS); do \
	  $(PY) -m segmentation fit --config=experiments/segmentation/$$name.yaml \
	    $(segmentation_config) \
	    --data.folder=$(call quoted,$(MASKS)) $(study) --redo=$(REDO) || exit; \
	done
	$(PY) -m segmentation compare $(study) --against=$(lastword $(SEGMENTERS))

.PHONY: base-models
base-models: $(READY) ## FOLD=0: five base learners in the arms global and patched, one run per GPU
	$(if $(made),,$(MAKE) data)
	$(PY) -m flannel base-models $(study) --fold=$(call quoted,$(FOLD)) --arm=$(call quoted,$(ARM)) --learner=$(call quoted,$(LEARNER)) \
	  --seeds=$(call quoted,$(SEEDS)) $(call option,seeding,$(SEEDING)) --devices=$(DEVICES) --redo=$(REDO) $(appended)

.PHONY: matched
matched: $(READY) ## one recipe for the arms global, masked and patched: STUDY's data, in STUDY_matched
	$(if $(made),,$(MAKE) data)
	mkdir -p $(call quoted,$(STUDY)_matched)
	for part in manifest.csv manifest.json store masks; do \
	  test ! -e $(call quoted,$(STUDY))/$$part || ln -sfn $(call quoted,$(call shown,$(abspath $(call hidden,$(STUDY)))))/$$part $(call quoted,$(STUDY)_matched)/$$part; \
	done
	$(MAKE) base-models STUDY=$(call quoted,$(STUDY)_matched) ARM=global,masked,patched APPEND=experiments/base/matched

.PHONY: ensemble
ensemble: $(READY) ## FLANNEL and its baselines for every arm and fold that has its base predictions; FORM=all for more
	$(if $(made),,$(MAKE) data)
	$(PY) -m flannel ensembles $(study) $(call given,fold,FOLD) $(call given,arm,ARM) $(call given,learner,LEARNER) \
	  $(call given,seeds,SEEDS) $(call option,seeding,$(SEEDING)) --redo=$(REDO) $(call option,form,$(FORM)) $(appended)

.PHONY: compare
compare: $(READY) ## tables, figures, report.html
	$(PY) -m flannel shortcuts $(study)
	$(PY) -m flannel compare $(study) $(call given,learner,LEARNER)

.PHONY: predict
predict: $(READY) ## IMAGE=file or folder: predict with the study: table, JSON, pictures; research software
	$(if $(IMAGE),,@echo "error: say which radiographs: make predict IMAGE=file" >&2; exit 2)
	$(PY) -m flannel predict $(call quoted,$(IMAGE)) $(study) $(call given,fold,FOLD) \
	  $(call given,arm,ARM) $(call given,learner,LEARNER) $(call given,form,FORM) --redo=$(REDO) \
	  --out=$(call quoted,$(or $(OUT),$(STUDY)/opinions/$(call stem,$(IMAGE))))

.PHONY: app
app: $(READY) ## a page on this machine to drop a radiograph on; PORT=8765
	$(PY) -m flannel app $(study) $(call given,fold,FOLD) $(call given,arm,ARM) $(call given,learner,LEARNER) --port=$(PORT)

.PHONY: saliency
saliency: $(READY) ## Grad-CAM of the base learners, over patches too, with two checks
	$(PY) -m flannel saliency $(study) --fold=$(call quoted,$(FOLD)) --arm=$(call quoted,$(ARM)) --learner=$(call quoted,$(LEARNER))

.PHONY: bundle
bundle: $(READY) ## the networks of fold FOLD in one folder, STUDY.flannel, to share and to predict with
	$(PY) -m flannel bundle $(study) --fold=$(call quoted,$(FOLD)) $(call given,arm,ARM) $(call given,learner,LEARNER) \
	  --out=$(call quoted,$(or $(OUT),$(STUDY).flannel)) --redo=$(REDO)

.PHONY: dashboard
dashboard: $(READY) ## the W&B workspace of the study: runs by arm, bars of F1, curves; saved after wandb login
	$(PY) -m flannel dashboard $(study) --redo=$(REDO)

.PHONY: patch-study
patch-study: $(READY) ## how many patches are needed: F1, spread and coverage by K, from the base runs' patches
	$(PY) -m flannel patches $(study)

.PHONY: study
study: export FLANNEL_MANIFEST := made
study: ## all stages in a row: DATA=folder MASKS=folder
	$(MAKE) data
	$(MAKE) segment
	$(MAKE) base-models
	$(MAKE) ensemble ARM=all
	$(MAKE) compare

# --- Two studies that need no GPU ---

.PHONY: demo
demo: $(READY) ## the whole study on phantom radiographs, offline, on a CPU; LEARNER=all: five networks
	$(PY) -m flannel demo $(call given,study,STUDY) $(call given,learner,LEARNER) --seed=$(SEED) --redo=$(REDO)

.PHONY: real-small
real-small: ## DATA=folder MASKS=folder: the whole study on a few real radiographs, on a CPU
	$(MAKE) study STUDY=$(call quoted,$(call study_or,runs/real_small)) APPEND=experiments/real_small

# --- The other papers' studies (docs/related.md) ---

.PHONY: related
related: $(READY) ## STUDY_NAME=covid_qu_ex: a study of another paper, on DATA=folder or on phantoms
	@test -f "experiments/related/$(STUDY_NAME)/study.yaml" || { echo "error: say which study: make related STUDY_NAME=$$(cd experiments/related && ls -d */study.yaml | xargs dirname | paste -sd'|')" >&2; exit 2; }
	$(PY) -m flannel related --name=$(STUDY_NAME) --study=$(call quoted,$(call study_or,runs/related/$(STUDY_NAME))) \
	  --fold=$(call quoted,$(FOLD)) --learner=$(call quoted,$(LEARNER)) $(call given,arm,ARM) $(call option,seeding,$(SEEDING)) --devices=$(DEVICES) --redo=$(REDO) $(appended) \
	  $(call given,data,DATA) $(call option,masks,$(MASKS)) $(call option,segmenter,$(CKPT))

# --- For developers ---

.PHONY: test
test: $(READY) ## all tests
	$(PY) -m pytest

.PHONY: test-quick
test-quick: $(READY) ## the tests of a minute
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" --numprocesses=2

.PHONY: coverage
coverage: $(READY) ## all tests, and which lines and branches they do not reach
	$(PY) -m coverage run -m pytest
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

.PHONY: lint
lint: $(READY) ## ruff, mypy and codespell
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	git ls-files -z | xargs -0 $(VENV)/bin/codespell

.PHONY: fuzz
fuzz: $(READY) ## MINUTES=10: grey levels, broken and hostile radiographs, bundles; ends in status 1 at a fault
	$(PY) tests/fuzz levels --minutes=$(MINUTES)
	$(PY) tests/fuzz radiographs --minutes=$(MINUTES)
	$(PY) tests/fuzz bundles --minutes=$(MINUTES)

.PHONY: bench
bench: $(READY) ## ratios against a plain implementation (benchmarks/README.md)
	$(PY) benchmarks/fc_densenet.py
	$(PY) benchmarks/patches.py
	$(PY) benchmarks/ensemble.py
	OMP_WAIT_POLICY=passive $(PY) benchmarks/base_learners.py
