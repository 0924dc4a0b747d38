# Up to an hour on two cores: where the learning has to show.
MARKET ?= --items 8000 --queries 9000
BENCH ?= --general 600 --hard 400 --visual 300
BASE ?= $(if $(MODEL),--model $(MODEL),--from-scratch tiny)
SFT_LABEL ?= --max-seconds 420
SFT ?= --max-seconds 900
RL_SELECT ?= --limit 1500 --samples 8
RL ?= --max-seconds 600
SAMPLES ?= --samples 8
DISTILL_LABEL ?= --limit 12000
DISTILL ?= --from-scratch tiny --max-seconds 180
PLAN ?= --head-traffic 0.5 --tail-traffic 0.1
SPLIT_REPLAY ?=
