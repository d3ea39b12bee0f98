/** A runtime with weights of one type. */
export interface Entry {
  readonly runtime: string
  readonly dtype: string
  /** Its module in this folder. */
  readonly module: string
  /** The npm package whose version counts; gemlet has the commit. */
  readonly package?: string
  readonly computesOn: "WebGPU" | "CPU, one thread"
}

const family = (runtime: string, entry: Omit<Entry, "runtime" | "dtype">, dtypes: readonly string[]): Entry[] =>
  dtypes.map((dtype) => ({ runtime, dtype, ...entry }))

/** All that take part. What runs on an engine that is there already comes with one type. */
export const LINEUP: readonly Entry[] = [
  ...family("gemlet", { module: "gemlet", computesOn: "WebGPU" }, ["bf16", "q8", "q4"]),
  ...family("onnxruntime-node", { module: "onnxruntime_node", package: "onnxruntime-node", computesOn: "WebGPU" }, [
    "fp32",
    "fp16",
    "q4",
    "q4f16",
  ]),
  ...family("onnxruntime-web", { module: "onnxruntime_web", package: "onnxruntime-web", computesOn: "WebGPU" }, ["q4"]),
  ...family("transformers.js", { module: "transformers", package: "@huggingface/transformers", computesOn: "WebGPU" }, [
    "q4",
  ]),
  ...family("doppler", { module: "doppler", package: "doppler-gpu", computesOn: "WebGPU" }, ["f16", "q4k"]),
  ...family(
    "onnxruntime-cpu",
    { module: "onnxruntime_node", package: "onnxruntime-node", computesOn: "CPU, one thread" },
    ["fp32", "q4"],
  ),
  ...family("llama.cpp", { module: "llama_cpp", package: "node-llama-cpp", computesOn: "CPU, one thread" }, [
    "bf16",
    "q8_0",
    "q4_0",
  ]),
]

export function nameOf({ runtime, dtype }: Pick<Entry, "runtime" | "dtype">): string {
  return `${runtime}/${dtype}`
}

/**
 * Entries by name, or all of a runtime.
 *
 * @throws {RangeError} for a name that nobody has
 */
export function chosen(names: string | undefined): Entry[] {
  if (!names) return [...LINEUP]
  return names.split(",").flatMap((name) => {
    const found = LINEUP.filter((entry) => entry.runtime === name || nameOf(entry) === name)
    if (found.length > 0) return found
    throw new RangeError(`--peers: name is ${name}, expected one of ${LINEUP.map(nameOf).join(", ")}`)
  })
}
