# About 18 minutes on two cores: enough data and steps to see each stage learn. Steps, not seconds: the same seed gives the same numbers.
BENCH ?= --general 240 --hard 180 --visual 120
BASE ?= $(if $(MODEL),--model $(MODEL),--from-scratch tiny)
SFT_LABEL ?= --max-steps 150
SFT ?= --max-steps 1450
RL_SELECT ?= --sample 600 --samples 8 --max-new-tokens 96
RL ?= --max-steps 48 --prompts-per-step 4 --steps-per-generation 8 --optimizer muon --rate 1e-3 --beta 0 --process-weight 1 --sft-weight 20 --sft-tokens 6144 --max-new-tokens 96
SAMPLES ?= --samples 8 --max-new-tokens 96
DISTILL_LABEL ?= --sample 1200 --max-new-tokens 96
DISTILL ?= --from-scratch tiny --epochs 5
PLAN ?= --head-traffic 0.7 --tail-traffic 0.05
