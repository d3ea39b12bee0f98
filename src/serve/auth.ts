import { createHash, timingSafeEqual } from "node:crypto"
import { ApiError } from "./errors.ts"

const digest = (text: string) => createHash("sha256").update(text).digest()

/**
 * A check of `Authorization: Bearer KEY`. Digests are compared, in constant time: how long it takes tells neither the key nor
 * its length.
 *
 * @returns a function that throws an ApiError 401 for a header without the key
 */
export function bearerCheck(key: string): (header: string | undefined) => void {
  const expected = digest(key)
  return (header) => {
    const [, given] = /^bearer +(.*)$/i.exec(header ?? "") ?? []
    if (given !== undefined && timingSafeEqual(digest(given), expected)) return
    const what =
      given === undefined ? "is missing, expected Authorization: Bearer KEY" : "is wrong, expected the server's"
    throw new ApiError(401, `API key: ${what}`, {
      type: "authentication_error",
      code: "invalid_api_key",
      headers: { "WWW-Authenticate": "Bearer" },
    })
  }
}
