import { readFileSync } from "node:fs"

/** The F32 and F64 tensors of a fixture, read without the code under test. */
export function readFixture(path: string): (name: string) => Float32Array | Float64Array {
  const bytes = readFileSync(new URL(`../fixtures/${path}`, import.meta.url))
  const end = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString("utf8", 8, end))
  return (name) => {
    const { dtype, data_offsets: offsets } = header[name]
    const data = Uint8Array.from(bytes.subarray(end + offsets[0], end + offsets[1])).buffer
    return dtype === "F64" ? new Float64Array(data) : new Float32Array(data)
  }
}
