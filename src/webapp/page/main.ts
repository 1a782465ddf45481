import { History } from './model/history.js'
import { Studio } from './studio.js'
import { startTheme } from './view/theme.js'

startTheme()
const studio = new Studio(await History.open())

// On a phone the focus would call up the keyboard. Where the easel is above the form, it stays in sight.
if (matchMedia('(hover: hover)').matches) document.getElementById('prompt')?.focus({ preventScroll: true })

document.addEventListener('keydown', (event) => {
  if (document.querySelector('dialog[open]') !== null) return
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault()
    studio.submit()
  }
  if (event.key === 'Escape') studio.stop()
  // In a field it takes back what was written.
  if (
    event.key === 'z' &&
    (event.ctrlKey || event.metaKey) &&
    !(event.target instanceof HTMLElement && event.target.matches('input, textarea')) &&
    studio.undo()
  )
    event.preventDefault()
})
