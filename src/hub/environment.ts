import { readFile } from "node:fs/promises"
import { homedir } from "node:os"
import { join } from "node:path"
import { getHFHubCachePath } from "@huggingface/hub"
import { checkEndpoint, DEFAULT_ENDPOINT } from "./model_id.ts"

/** The user's Hub settings, read as Python's huggingface_hub reads them. */

export function environmentEndpoint(): string {
  return checkEndpoint(process.env.HF_ENDPOINT || DEFAULT_ENDPOINT)
}

/** HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub. */
export function environmentCache(): string {
  return expandHome(getHFHubCachePath())
}

/** HF_TOKEN, or what `hf auth login` stored. */
export async function environmentToken(): Promise<string | undefined> {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME } = process.env
  const given = (HF_TOKEN || HUGGING_FACE_HUB_TOKEN)?.trim()
  if (given) return given
  const home = HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface")
  const stored = await readFile(expandHome(HF_TOKEN_PATH || join(home, "token")), "utf8").catch(() => "")
  return stored.trim() || undefined
}

export function environmentOffline(): boolean {
  const { HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE } = process.env
  return /^(1|on|yes|true)$/i.test(HF_HUB_OFFLINE || TRANSFORMERS_OFFLINE || "")
}

function expandHome(path: string): string {
  return path.replace(/^~(?=$|[/\\])/, () => homedir())
}
