/** The SHA-256 of some bytes, 32 of them. */
export async function sha256(bytes: BufferSource): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))
}

/** In hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
}

/** The SHA-256 of a text, in hexadecimal digits. */
export async function sha256Text(text: string): Promise<string> {
  return hex(await sha256(new TextEncoder().encode(text)))
}
