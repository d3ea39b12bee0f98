const HUB_PAGE = /(https:\/\/huggingface\.co\/[\w./-]*[\w/])/

/** A text in which addresses of the Hub's pages are links. */
export function Linked({ text }: { readonly text: string }) {
  const parts = text.split(HUB_PAGE) // every second is an address
  return <>{parts.map((part, i) => (i % 2 === 1 ? <HubLink key={part} href={part} /> : part))}</>
}

/** A page of the Hub, beside this one. */
export function HubLink({ href }: { readonly href: string }) {
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {href.replace("https://", "")}
    </a>
  )
}
