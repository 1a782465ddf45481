import { byId } from '../lib/dom.js'

/** Leads to the documents of the server's API, where it has any. */
export class DocumentsLink {
  readonly #foot = byId('foot', HTMLElement)
  readonly #link = byId('documents', HTMLAnchorElement)

  show(documents: URL | undefined): void {
    this.#foot.hidden = documents === undefined
    if (documents !== undefined) this.#link.href = documents.href
  }
}
