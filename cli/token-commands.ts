/** `holdfast token ...` in the table of commands. */
import type { OptionSpec } from './arguments.ts'
import type { Command } from './command.ts'

export const tokenCommands = (endpoint: Record<string, OptionSpec>): Command[] => [
  {
    words: 'token create',
    summary: 'cluster: make a bearer token, by which somebody without a certificate asks the control API',
    positionals: [{ name: 'NAME' }],
    options: {
      role: { value: 'ROLE', summary: 'required: viewer, operator, admin, csi; or node: NAME is that of the node' },
      expires: { value: 'DURATION', summary: 'how long it is valid (default 2160h, which are 90 days)' },
      out: { value: 'FILE', summary: 'write it there, mode 0600, instead of showing it' },
      ...endpoint,
    },
    examples: [
      'holdfast token create ci --role operator --expires 24h',
      'holdfast token create dashboard --role viewer --out ./dashboard.token',
    ],
    load: async () => (await import('./token.ts')).createToken,
  },
  {
    words: 'token ls',
    summary: 'cluster: list bearer tokens, expired ones too; never their secrets',
    positionals: [],
    options: endpoint,
    examples: ['holdfast token ls'],
    load: async () => (await import('./token.ts')).listTokens,
  },
  {
    words: 'token revoke',
    summary: 'cluster: let a bearer token be worth nothing; what goes on under it ends',
    positionals: [{ name: 'NAME' }],
    options: endpoint,
    examples: ['holdfast token revoke ci'],
    load: async () => (await import('./token.ts')).revokeToken,
  },
]
