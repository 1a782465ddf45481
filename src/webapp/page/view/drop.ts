import { byId } from '../lib/dom.js'

const TYPES = new Set(['image/png', 'image/jpeg', 'image/webp'])

/** Accepts a picture dropped on the page or chosen. @param take gets the file, or undefined if it is not a picture */
export function startDrop(take: (file: File | undefined) => void): void {
  const overlay = byId('drop', HTMLDivElement)
  const picker = byId('file', HTMLInputElement)
  byId('pick', HTMLButtonElement).addEventListener('click', () => picker.click())
  picker.addEventListener('change', () => {
    if (picker.files?.[0] !== undefined) take(pictureOf(picker.files))
    picker.value = ''
  })
  document.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    overlay.hidden = false
  })
  document.addEventListener('dragleave', (event) => {
    // relatedTarget is null only when the pointer leaves the window.
    if (event.relatedTarget === null) overlay.hidden = true
  })
  document.addEventListener('drop', (event) => {
    if (event.dataTransfer === null || event.dataTransfer.files.length === 0) return
    event.preventDefault()
    overlay.hidden = true
    take(pictureOf(event.dataTransfer.files))
  })
}

function pictureOf(files: FileList): File | undefined {
  return [...files].find(({ type }) => TYPES.has(type))
}
