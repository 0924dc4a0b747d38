# Eight minutes on two cores: enough data and steps to see each stage learn.
MARKET ?=
BENCH ?= --general 320 --hard 240 --visual 160
BASE ?= $(if $(MODEL),--model $(MODEL),--from-scratch tiny)
SFT_LABEL ?= --max-seconds 45
SFT ?= --max-seconds 120
RL_SELECT ?= --limit 400 --samples 8
RL ?= --max-seconds 45
SAMPLES ?= --samples 8
DISTILL_LABEL ?= --limit 3000
DISTILL ?= --from-scratch tiny --max-seconds 30
PLAN ?= --head-traffic 0.5 --tail-traffic 0.1
SPLIT_REPLAY ?=
