import type { DistillOptions } from "../kernels/distill_options.ts"
import type { Over } from "../kernels/distill_sparse.ts"
import { type Head, linearDistill } from "../kernels/linear_distill.ts"
import { linearDistillSparse, type SparseTargets } from "../kernels/linear_distill_sparse.ts"
import { gatherProbs, linearTopK } from "../kernels/linear_top_k.ts"
import type { Run } from "../kernels/run.ts"
import { rowSlice } from "../kernels/tensor.ts"
import type { Labelled, Objective } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import type { TaughtExample, TeacherCacheInfo } from "./teacher_cache.ts"

/** What a student is held to, with nothing left open: JSON. */
export type Divergence = Required<DistillOptions>

/** The tokens that are compared, where it is not all of them. */
export interface Support {
  /** Of each position, the likeliest. */
  readonly topK: number
  /** By whom they are. */
  readonly support: "teacher" | "student"
  readonly over: Over
}

type Created = Objective & { dispose(): void }

/** A student held to a teacher that sees the same tokens in the same run. The teacher is on the student's GPU device. */
export function liveObjective(
  student: Model,
  teacher: Model,
  divergence: Divergence,
  support: Support | undefined,
  tokens: number,
): Created {
  student.device.check()
  teacher.device.check()
  const passage = teacher.network.whole(tokens)
  return {
    record(run, own, inputs) {
      const { ids, starts, cursor } = inputs
      const other = run.on(undefined, () => {
        return teacher.network.head(run, passage.forward(run, ids, { cursor, starts }))
      })
      if (!support) return linearDistill(run, own, other, inputs.targets, divergence)
      const { over } = support
      const targets = run.on(undefined, () => supportTargets(run, own, other, support, divergence.temperature))
      const { x, weight, softcap } = own
      return linearDistillSparse(run, x, weight, inputs.targets, targets, { ...divergence, over, softcap })
    },
    dispose() {
      passage.free()
    },
  }
}

function supportTargets(
  run: Run,
  student: Head,
  teacher: Head,
  { topK: k, support }: Support,
  temperature: number,
): SparseTargets {
  const likeliest = ({ x, weight, softcap }: Head) => linearTopK(run, x, weight, { softcap, temperature, k })
  if (support === "teacher") return likeliest(teacher)
  const { ids } = likeliest(student)
  const { x, weight, softcap } = teacher
  return { ids, probs: gatherProbs(run, x, weight, ids, { softcap, temperature }) }
}

/** A student held to what a teacher thought of the very sequences that it sees. */
export function cachedObjective(
  student: Model,
  { k }: Pick<TeacherCacheInfo, "k">,
  divergence: Divergence,
  over: Over,
  tokens: number,
): Created {
  const { device } = student
  const ids = device.tensor("scratch", [tokens, k], "u32")
  const probs = device.tensor("scratch", [tokens, k])
  return {
    prepare(sequences) {
      const [hostIds, hostProbs] = [new Uint32Array(tokens * k), new Float32Array(tokens * k)]
      let at = 0
      for (const { teacherIds, teacherProbs } of sequences as readonly (Labelled & TaughtExample)[]) {
        hostIds.set(teacherIds, at)
        hostProbs.set(teacherProbs, at)
        at += teacherIds.length
      }
      device.write(ids, hostIds)
      device.write(probs, hostProbs)
    },
    record(run, { x, weight, softcap }, { targets }) {
      const T = x.shape[0]! // fewer where it is weighed what shorter rows would take
      const taught = { ids: rowSlice(ids, 0, T), probs: rowSlice(probs, 0, T) }
      const options = { ...divergence, over, softcap }
      return linearDistillSparse(run, x, weight, targets, taught, options)
    },
    dispose() {
      for (const { storage } of [ids, probs]) device.free(storage.buffer!)
    },
  }
}
