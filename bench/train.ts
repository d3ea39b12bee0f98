// Training runs whose figures docs/training.md quotes; each appends a row to bench/results/training.jsonl. Usage:
//   npm run bench:train -- curve --data tinystories_sample.jsonl.gz [--seed 0]     storyteller's shape from scratch
//   npm run bench:train -- tune --data fairytaleqa.jsonl.gz --method lora|lamda [--rank 16] [--rate 1e-3] [--steps 150]
//   npm run bench:train -- family --data tinystories_sample.jsonl.gz --family hgrn_bit|gemma3_text [--rate 4e-3]
//                                                                                  two families of 2.6 million parameters from scratch
//   npm run bench:train -- ranks --data tinystories_sample.jsonl.gz       what ranks cost storyteller, and what an initialiser gains
//   npm run bench:train -- compress --data tinystories_sample.jsonl.gz [--rate 2e-3] [--steps 600] [--method full|distill]
//                                                          storyteller at half its size, and what training gives back
//   npm run bench:train -- 270m                                                    LoRA on Gemma 3 270M's shape
// A run with --store DIR goes on from there when it was stopped. Add --device auto|gpu|software|lavapipe|swiftshader, and --out FILE.svg for the loss curve.
import { cpus } from "node:os"
import { commit, record } from "./row.ts"
import { adapter, large } from "./training/adapters.ts"
import { positionals } from "./training/arguments.ts"
import { curve, family } from "./training/from_scratch.ts"
import { compressed, ranks } from "./training/low_rank.ts"

const runs = { curve, family, ranks, compress: compressed, tune: adapter, "270m": large }
const run = runs[positionals[0] as keyof typeof runs]
if (!run) throw new RangeError(`run: is ${positionals[0]}, expected one of ${Object.keys(runs).join(", ")}`)
const row = { date: new Date().toISOString(), commit: commit(), cpu: cpus()[0]?.model, ...(await run()) }
await record("training", row)
