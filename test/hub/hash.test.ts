import { createHash } from "node:crypto"
import { expect, test } from "vitest"
import { startHash } from "../../src/hub/hash.ts"
import { gitSha1, sha256 } from "./fake_hub.ts"
import { noise } from "./workspace.ts"

test("startHash gives OpenSSL's digests for every length around a block, in pieces of any size", () => {
  const bytes = noise(1000, 3)
  for (let length = 0; length <= 200; length++) {
    const part = bytes.subarray(length, 2 * length)
    expect(hashed("sha256", part, length / 2), `sha256 of ${length}`).toBe(sha256(part))
    expect(hashed("git-sha1", part, length / 3), `git-sha1 of ${length}`).toBe(gitSha1(part))
  }
  const pieces = startHash("sha256", bytes.length)
  for (let at = 0, size = 0; at < bytes.length; at += size++) pieces.update(bytes.subarray(at, at + size))
  expect(pieces.digest("hex")).toBe(createHash("sha256").update(bytes).digest("hex"))
})

function hashed(algorithm: "sha256" | "git-sha1", bytes: Buffer, cut: number): string {
  const hash = startHash(algorithm, bytes.length)
  hash.update(bytes.subarray(0, cut))
  hash.update(bytes.subarray(cut))
  return hash.digest("hex")
}
