/** Keys of config.json that say nothing about a text forward pass, from the files of the hub and old transformers dumps. */
const HARMLESS = new Set(
  `architectures transformers_version transformers.js_config model_name name model_max_length torch_dtype dtype
  use_cache cache_implementation attn_implementation initializer_range initializer_factor pretraining_tp
  attention_dropout hidden_dropout hidden_dropout_prob resid_pdrop embd_pdrop dropout router_jitter_noise
  tokenizer_class tokenizer_model prefix problem_type finetuning_task task_specific_params id2label label2id num_labels
  return_dict return_dict_in_generate output_scores output_attentions output_hidden_states torchscript use_bfloat16
  tf_legacy_loss pruned_heads chunk_size_feed_forward is_decoder remove_invalid_values gradient_checkpointing
  bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
  bad_words_ids suppress_tokens begin_suppress_tokens max_length max_new_tokens min_length min_new_tokens do_sample
  early_stopping num_beams num_beam_groups num_return_sequences diversity_penalty temperature top_k top_p min_p typical_p
  repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size exponential_decay_length_penalty
  vision_config mm_tokens_per_image boi_token_index eoi_token_index image_token_index boi_token_id eoi_token_id
  image_token_id`.split(/\s+/),
)

/** Whether an unread key may be ignored. Private keys and the marks that Unsloth leaves are harmless too. */
export function isHarmless(key: string): boolean {
  return HARMLESS.has(key) || key.startsWith("_") || key.startsWith("unsloth_")
}
