/** Networks that `inspect --shape` plans for without a folder, as their config.json would say them. */
export interface ShapePreset {
  /** What is not public about it; absent: nothing. */
  assumed?: string
  config: Record<string, unknown>
}

const pangu = {
  architectures: ['PanguEmbeddedForCausalLM'],
  model_type: 'PanguEmbedded',
  bias: true,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 16_000_000,
  max_position_embeddings: 32768,
  vocab_size: 153376,
  num_key_value_heads: 8,
  tie_word_embeddings: false,
  torch_dtype: 'bfloat16',
  bos_token_id: 1,
  eos_token_id: 45892,
  pad_token_id: 0,
}

export const shapePresets: Readonly<Record<string, ShapePreset>> = {
  'openpangu-7b': {
    config: { ...pangu, hidden_size: 4096, num_hidden_layers: 34, num_attention_heads: 32, intermediate_size: 12800 },
  },
  'openpangu-38b-assumed': {
    assumed: 'the 38B has no public config; this is a dense decoder of the 7B\'s proportions with 38.1 billion parameters',
    config: { ...pangu, hidden_size: 7168, num_hidden_layers: 60, num_attention_heads: 56, intermediate_size: 22400 },
  },
}
