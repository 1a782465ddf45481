import { byId } from '../lib/dom.js'

/** Links to the server's API documentation, if any. */
export class DocumentsLink {
  readonly #foot = byId('foot', HTMLElement)
  readonly #link = byId('documents', HTMLAnchorElement)

  show(documents: URL | undefined): void {
    this.#foot.hidden = documents === undefined
    if (documents !== undefined) this.#link.href = documents.href
  }
}
