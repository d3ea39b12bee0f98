import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { rmsNorm } from "../../src/kernels/rms_norm.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, sample, sampleState } from "../../src/kernels/sample.ts"
import { add as addKernel } from "../../src/kernels/shaders.ts"
import { rowSlice, type Tensor, view } from "../../src/kernels/tensor.ts"
import { compute, free, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"

describe("Run", () => {
  const device = testDevice()

  async function read(x: Tensor): Promise<Float32Array> {
    return new Float32Array(await device().read(x))
  }

  const sum = (a: Float32Array<ArrayBuffer>, b: Float32Array<ArrayBuffer>) => a.map((x, i) => Math.fround(x + b[i]!))

  /** Adds of random earlier results, in several shapes at once; f32 sums are exact, so they are compared bit by bit. */
  function randomGraph(run: Run, inputs: readonly Tensor[], seed: number, size: number) {
    const next = random(seed)
    const values = new Map<Tensor, Float32Array<ArrayBuffer>>()
    const nodes = [...inputs]
    const build = (known: ReadonlyMap<Tensor, Float32Array<ArrayBuffer>>) => {
      for (const [x, data] of known) values.set(x, data)
      while (nodes.length < size) {
        const a = nodes[Math.floor(next() * nodes.length)]!
        const same = nodes.filter((x) => x.shape.join() === a.shape.join())
        const b = same[Math.floor(next() * same.length)]!
        const y = add(run, a, b)
        values.set(y, sum(values.get(a)!, values.get(b)!))
        nodes.push(y)
      }
      return nodes.filter((x) => !inputs.includes(x))
    }
    return { build, values }
  }

  test("shares scratch among tensors without corrupting one: random graphs", async () => {
    const shapes = [
      [1, 4],
      [3, 12],
      [5, 64],
      [16, 64],
    ] as const
    for (let seed = 1; seed <= 15; seed++) {
      const data = shapes.flatMap((shape, i) =>
        [shape, shape].map((s, j) => uniform(s[0] * s[1], seed * 100 + i * 2 + j)),
      )
      const inputs = data.map((x, i) => tensor(device(), shapes[i >> 1]!, x))
      const run = new Run(device())
      const pool = new ScratchPool(device())
      const { build, values } = randomGraph(run, inputs, seed, 70)
      const results = build(new Map(inputs.map((x, i) => [x, data[i]!])))
      const next = random(seed + 1000)
      const kept = results.filter(() => next() < 0.15).map((x) => run.keep(x))
      const plan = run.plan(pool)
      for (let replay = 0; replay < 2; replay++) {
        plan.submit()
        for (const [i, x] of kept.entries()) {
          expect(await read(x), `seed ${seed}, replay ${replay}, kept ${i}`).toEqual(values.get(x))
        }
      }
      plan.dispose()
      pool.dispose()
      free(device(), ...inputs)
    }
  })

  test("needs two buffers for a chain of any length", async () => {
    const before = device().memory.scratch
    const x = tensor(device(), [4, 256], new Float32Array(1024).fill(1))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    let y: Tensor = x
    for (let i = 0; i < 50; i++) y = add(run, y, x)
    run.keep(y)
    const plan = run.plan(pool)
    const uniforms = 50 * device().gpu.limits.minUniformBufferOffsetAlignment
    expect(device().memory.scratch - before).toBeLessThanOrEqual(3 * 4096 + uniforms) // two, and the one kept
    plan.submit()
    expect((await read(y))[1023]).toBe(51)
    plan.dispose()
    pool.dispose()
    expect(device().memory.scratch).toBe(before)
  })

  test("keeps a result over later plans on the same pool, and a view keeps what it looks at", async () => {
    const pool = new ScratchPool(device())
    const one = tensor(device(), [4, 64], new Float32Array(256).fill(1))
    const first = new Run(device())
    const two = add(first, one, one)
    const three = add(first, two, one)
    first.keep(view(three, [256]))
    const a = first.plan(pool)
    a.submit()
    const second = new Run(device())
    let y: Tensor = one
    for (let i = 0; i < 8; i++) y = add(second, y, y)
    second.keep(y)
    const b = second.plan(pool)
    b.submit()
    expect((await read(three)).every((x) => x === 3)).toBe(true)
    expect((await read(y)).every((x) => x === 256)).toBe(true)
    a.submit()
    expect((await read(three)).every((x) => x === 3)).toBe(true)
    b.submit()
    expect((await read(y)).every((x) => x === 256)).toBe(true)
    for (const x of [a, b, pool]) x.dispose()
  })

  test("lets plans of one pool share its buffers, the largest need deciding", () => {
    const before = device().memory
    const pool = new ScratchPool(device())
    const x = tensor(device(), [16, 64], uniform(1024, 1))
    const plans = [1, 16, 4].map((T) => {
      const run = new Run(device())
      const part = rowSlice(x, 0, T)
      run.keep(add(run, add(run, add(run, part, part), part), part))
      return run.plan(pool)
    })
    // Scratch of the plan of 1 row, then more for that of 16, which serves that of 4 too.
    const kept = (1 + 16 + 4) * 256
    const uniforms = 3 * 3 * device().gpu.limits.minUniformBufferOffsetAlignment
    expect(device().memory.scratch - before.scratch).toBeLessThanOrEqual(kept + uniforms + 2 * 256 + 2 * 4096)
    for (const plan of plans) plan.dispose()
    pool.dispose()
    free(device(), x)
    expect(device().memory).toEqual({ ...before, peak: device().memory.peak })
  })

  test("leaves out what nothing reads, and keeps what writes outside the run", async () => {
    const x = tensor(device(), [4, 64], uniform(256, 2))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    const used = run.keep(add(run, x, x))
    const dead = add(run, used, x)
    add(run, dead, dead)
    const outside = tensor(device(), [4, 64], new Float32Array(256))
    run.dispatch(addKernel, { a: used, b: used, y: outside }, { n4: 64 }, [1])
    const plan = run.plan(pool)
    expect(plan.dispatches).toBe(2)
    plan.submit()
    expect(await read(outside)).toEqual(uniform(256, 2).map((value) => value * 4))
    plan.dispose()
    pool.dispose()
  })

  test("a plan gives the same every time, with new inputs in the same tensors too", async () => {
    const [T, C] = [5, 640]
    const x = tensor(device(), [T, C], uniform(T * C, 3))
    const weight = tensor(device(), [C], uniform(C, 4))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    const y = run.keep(rmsNorm(run, add(run, x, x), weight, { eps: 1e-6, offset: 1 }))
    const plan = run.plan(pool)
    const results = []
    for (const seed of [3, 5, 3, 5]) {
      device().write(x, uniform(T * C, seed))
      plan.submit()
      results.push(await read(y))
    }
    expect(results[2]).toEqual(results[0])
    expect(results[3]).toEqual(results[1])
    expect(results[0]).not.toEqual(results[1])
    plan.dispose()
    pool.dispose()
  })

  test("runs the dispatches of a plan in order, those of plans encoded into one pass too", async () => {
    const logits = tensor(device(), [1, 8], Float32Array.of(8, 7, 6, 5, 4, 3, 2, 1))
    const state = sampleState(device(), { V: 8, context: 8 })
    const settings = { repetitionPenalty: 1e6, temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0 }
    resetSampleState(device(), state, 0, [7], settings)
    const run = new Run(device())
    const pool = new ScratchPool(device())
    sample(run, logits, state)
    sample(run, logits, state)
    const plan = run.plan(pool)
    const encoder = device().gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    for (let i = 0; i < 3; i++) plan.encode(pass)
    pass.end()
    device().gpu.queue.submit([encoder.finish()])
    const tokens = new Uint32Array(await device().read(state.output)).subarray(0, 6)
    expect([...tokens]).toEqual([0, 1, 2, 3, 4, 5])
    plan.dispose()
    pool.dispose()
  })

  test("bind groups of plans that are gone are collected, though the collector does not see what a driver keeps of them", async () => {
    const { gpu } = device()
    const own = gpu.createBindGroup
    const groups: WeakRef<GPUBindGroup>[] = []
    gpu.createBindGroup = (descriptor) => {
      const group = own.call(gpu, descriptor)
      groups.push(new WeakRef(group))
      return group
    }
    const x = tensor(device(), [1, 4], Float32Array.of(1, 2, 3, 4))
    const pool = new ScratchPool(device())
    try {
      for (let i = 0; i < 300; i++) {
        const run = new Run(device())
        let y: Tensor = x
        for (let j = 0; j < 100; j++) y = add(run, y, x)
        run.keep(y)
        run.plan(pool).dispose()
        await new Promise((resolve) => setImmediate(resolve)) // a turn of the loop lets what is collected go
      }
    } finally {
      gpu.createBindGroup = own
      pool.dispose()
      free(device(), x)
    }
    const left = groups.filter((group) => group.deref()).length
    expect(groups.length).toBe(30_000)
    expect(left).toBeLessThan(20_000)
  })

  test("takes rows of a tensor as an operand", async () => {
    const data = uniform(8 * 64, 6)
    const x = tensor(device(), [8, 64], data)
    const y = await compute(device(), (run) => add(run, rowSlice(x, 2, 5), rowSlice(x, 5, 8)))
    expect(y).toEqual(sum(data.slice(128, 320), data.slice(320, 512)))
  })

  test("binds the rows of a slice and no more", async () => {
    const x = tensor(device(), [3, 64], new Float32Array(192).fill(1))
    const target = tensor(device(), [3, 64], new Float32Array(192).fill(9))
    const run = new Run(device())
    const middle = rowSlice(target, 1, 2)
    run.dispatch(addKernel, { a: rowSlice(x, 0, 1), b: rowSlice(x, 0, 1), y: middle }, { n4: 16 }, [1])
    const pool = new ScratchPool(device())
    const plan = run.plan(pool)
    plan.submit()
    const expected = new Float32Array(192).fill(9).fill(2, 64, 128)
    expect(await read(target)).toEqual(expected)
    plan.dispose()
    pool.dispose()
  })

  test("empty refuses what no binding can hold, with both sizes", () => {
    const rows = device().maxBinding / 4096 + 1
    expect(() => new Run(device()).empty([rows, 1024])).toThrow(
      new RangeError(
        `run: [${rows}, 1024] is ${device().maxBinding + 4096} bytes, expected at most ${device().maxBinding} per binding`,
      ),
    )
  })
})
