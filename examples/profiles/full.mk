# About forty minutes on two cores: where the learning has to show.
MARKET ?= --items 8000 --queries 9000
BENCH ?= --general 600 --hard 400 --visual 300
BASE ?= $(if $(MODEL),--model $(MODEL),--from-scratch tiny)
SFT_LABEL ?= --max-steps 900
SFT ?= --max-steps 3000
RL_SELECT ?= --sample 6000 --samples 8 --max-new-tokens 96
RL ?= --max-steps 27 --prompts-per-step 16 --sft-weight 0.5 --max-new-tokens 96
SAMPLES ?= --samples 8 --max-new-tokens 96
DISTILL_LABEL ?= --sample 6000 --max-new-tokens 96
DISTILL ?= --from-scratch tiny --epochs 8
PLAN ?= --head-traffic 0.7 --tail-traffic 0.05
