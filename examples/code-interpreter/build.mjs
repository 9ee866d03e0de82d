// Builds the template that @e2b/code-interpreter asks for by default.

import { Template, defaultBuildLogger, waitForPort } from 'e2b'

const folder = '/opt/code-interpreter'
const template = Template({ fileContextPath: import.meta.dirname })
  .fromTemplate('base')
  .copy('server.py', `${folder}/server.py`, { user: 'root' })
  .copy('kernel.py', `${folder}/kernel.py`, { user: 'root' })
  .setWorkdir('/home/user')
  .setStartCmd(`exec python3 ${folder}/server.py`, waitForPort(49999))

const built = await Template.build(template, 'code-interpreter-v1', {
  onBuildLogs: defaultBuildLogger({ minLevel: 'info' }),
})
console.log('built', built.templateId)
