"""The LLM: loading, chat templates and prompts, likelihoods of answers, LoRA, conversations."""
