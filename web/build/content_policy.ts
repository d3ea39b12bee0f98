/**
 * What the built page may do: its own scripts, styles and workers, and requests to the Hub besides its own host. A page that a
 * model's text took over could still not send what it read anywhere else.
 */
export const CONTENT_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "worker-src 'self'",
  "img-src 'self' data: blob:",
  "manifest-src 'self'",
  // Where the Hub answers, and where it sends on to for large files.
  "connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ")
