import { afterAll, beforeAll, beforeEach } from "vitest"
import {
  type LanguageModel,
  memorySource,
  memoryStore,
  openTeacherCache,
  type TeacherCache,
  type TeachOptions,
  type TeachStep,
  teach,
} from "../../src/index.ts"
import { STORIES } from "./stories.ts"
import { openModel, studentFolder, teacherFolder } from "./teachers.ts"

export const FEW = STORIES.slice(0, 10)
export const DATA = { context: 24, heldOut: 2, seed: 3 }

/** A small student, its teacher, and what the teacher keeps of some data. */
export class Taught {
  student!: LanguageModel
  teacher!: LanguageModel
  /** The likeliest 8 at temperature 2, whole and opened. */
  bytes!: Uint8Array
  cache!: TeacherCache

  async taught(options: Partial<TeachOptions>, data = FEW): Promise<{ bytes: Uint8Array; steps: TeachStep[] }> {
    const store = memoryStore()
    const steps: TeachStep[] = []
    for await (const step of teach(this.teacher, data, { ...DATA, ...options, store })) steps.push(step)
    return { bytes: store.files.get("teacher.safetensors")!, steps }
  }
}

/** Opens them for a test file's tests; each begins without adapters. */
export function taughtModels(): Taught {
  const held = new Taught()
  beforeAll(async () => {
    held.student = await openModel(await studentFolder())
    held.teacher = await openModel(await teacherFolder(), held.student)
    held.bytes = (await held.taught({ k: 8, temperature: 2 })).bytes
    held.cache = await opened(held.bytes)
  })
  beforeEach(async () => {
    for (const { name } of held.student.adapters) await held.student.removeAdapter(name)
  })
  afterAll(async () => {
    await held.teacher.dispose()
    await held.student.dispose()
  })
  return held
}

export function opened(file: Uint8Array): Promise<TeacherCache> {
  return openTeacherCache({ name: "t.safetensors", source: memorySource(file) })
}
