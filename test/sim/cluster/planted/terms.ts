/**
 * Bugs of the configuration, of promises, promotion and reconciliation (SPEC section 4).
 */
import { bug, focusOn, storeBug, testBug } from './planted-bug.ts'

export const TERMS = [
  bug(
    'a change takes no epoch of its own',
    'I1',
    [
      [
        'configuration.ts',
        "epoch: config.epoch + 1,\n    nonce,\n    members: withStates(config, nodes, 'catching-up'),",
        "epoch: config.epoch,\n    nonce,\n    members: withStates(config, nodes, 'catching-up'),",
      ],
      [
        'configuration.ts',
        "assert(next.epoch > config.epoch || isSame, 'I1",
        "assert(next.epoch >= config.epoch || isSame, 'I1",
      ],
      ['configuration-change.ts', 'to.epoch > from.config.epoch,', 'to.epoch >= from.config.epoch,'],
    ],
  ),
  bug('a candidate leaves itself out of the set', 'I2', [
    [
      'configuration.ts',
      'const others = config.inSync.filter((node) => node !== config.primary)\n  const drops',
      'const others = config.inSync.filter((node) => node !== candidate)\n  const drops',
    ],
  ]),
  bug(
    'the set shrinks below minInSync',
    'C2',
    [['configuration.ts', 'return size >= config.minInSync && size >= 1', 'return size >= 1']],
  ),
  // Copies are made before they are named only where the engine's store has them.
  storeBug(
    'news while the configuration is read is forgotten',
    'I22, C10',
    [
      [
        'replication/configuration-change.ts',
        'if (reading !== undefined) reading.isLate = true',
        'if (reading !== undefined) return',
      ],
    ],
    { looksAt: focusOn('staleReads') },
  ),
  bug('a compare-and-swap without an answer counts as lost', 'I6, W4, design 4', [
    [
      'configuration-change.ts',
      "change.phase = 'reading'\n    readConfig(turn, false, true)",
      'state.change = undefined\n    refreshRequired(state)\n    if (state.primary !== undefined) ' +
        'advance(turn)\n    else follow(turn)',
    ],
  ]),
  bug(
    'a compare-and-swap without an answer counts as won',
    'I1, C1',
    [
      [
        'configuration-change.ts',
        "if (event.outcome === 'won' && event.version !== undefined) {",
        "if (event.outcome !== 'lost') {",
      ],
      ['configuration-change.ts', 'version: event.version })', 'version: event.version! })'],
    ],
  ),
  bug('the union of both sets is forgotten when the answer is late', 'I6, W4', [
    ['commit.ts', 'if (change !== undefined) for', "if (change?.phase === 'asked') for"],
    [
      'commit.ts',
      "if (fill?.phase === 'joining') required.add(node)",
      "if (fill?.phase === 'joining' && change === undefined) required.add(node)",
    ],
    [
      'configuration-change.ts',
      "change.phase = 'reading'\n    readConfig(turn, false, true)",
      "change.phase = 'reading'\n    refreshRequired(state)\n    readConfig(turn, false, true)",
    ],
  ]),
  bug('a won change counts as lost when the value was touched since', 'I6, C6, design 4', [
    [
      'configuration-change.ts',
      'const isOurs = config.nonce === change.to.nonce || sameChoice(config, change.to)',
      'const isOurs = config.nonce === change.to.nonce && sameChoice(config, change.to)',
    ],
    ['configuration-change.ts', 'adopt(turn, value, false)\n    if (state.primary', 'if (state.primary'],
  ]),
  bug(
    'a promise is told before it is durable',
    'I3',
    [
      [
        'replica.ts',
        'port.store.keep(token, { promise, ...wholeBootOf(state) })',
        'port.store.keep(token, { promise, ...wholeBootOf(state) })\n  state.durablePromise = promise\n  if (' +
          "answerTo !== undefined) port.send(answerTo, { type: 'promised', epoch: promise.epoch, " +
          '...reportOf(state) })',
      ],
    ],
  ),
  bug('a promise is not written', 'I3', [
    ['replica.ts', 'port.store.keep(token, { promise, ...wholeBootOf(state) })', 'port.store.keep(token, {})'],
  ]),
  bug('stored is said under a promise that is not durable', 'I3, W3', [
    ['replica.ts', 'if (!isFollowing || !samePromise(promise, durablePromise)) return', 'if (!isFollowing) return'],
  ]),
  bug('a promise goes back', 'I3', [
    [
      'replica.ts',
      "if (epoch <= state.promise.epoch) return refuse(turn, from, epoch, 'epoch')\n  const standing",
      'const standing',
    ],
  ]),
  testBug('who says that it leads is believed', 'C12', 'test/engine/replication/lead-claims.test.ts', [
    ['replication/replica.ts', "standing === 'named' && mayPromiseTo", 'mayPromiseTo'],
  ]),
  testBug('a node without a copy may wait to be believed', 'C12', 'test/engine/replication/lead-claims.test.ts', [
    ['replication/lead-claims.ts', "hasMember(record, primary)) return 'open'", "primary !== '') return 'open'"],
  ]),
  testBug('who has no copy ends a lead', 'C6', 'test/engine/replication/unknown-sender.test.ts', [
    ['replication/replica.ts', 'config !== undefined && hasMember(config.config, from)', "from !== ''"],
  ]),
  testBug('a report of who has no copy ends a lead', 'C6', 'test/engine/replication/unknown-sender.test.ts', [
    ['replication/peer-reports.ts', 'if (isMember && isLater)', 'if (isLater)'],
  ]),
  storeBug(
    'a new copy promises to who counts on the erased one',
    'I6, I7, C4',
    [
      [
        'replication/replica.ts',
        'if (config.members[state.options.node]?.copyId !== state.copyId) return',
        'if (config.members[state.options.node] === undefined) return',
      ],
    ],
    { looksAt: focusOn('staleReads'), caughtBy: 'test/engine/replication/unnamed.test.ts' },
  ),
  bug(
    'a record of an older epoch of the same primary is taken',
    'I4, W2',
    [
      [
        'replica.ts',
        'if (from !== state.promise.primary || (!isMore && epoch !== state.promise.epoch)) {',
        'if (from !== state.promise.primary) {',
      ],
    ],
    { looksAt: focusOn('terms', 'fills') },
  ),
  bug(
    'who promises to another goes on leading',
    'I4, I8, C6',
    [['replica.ts', "from)) return\n    depose(turn, promise)", "from)) return"]],
    { caughtBy: 'test/engine/replication/lead-claims.test.ts' },
  ),
  bug(
    'it serves before the others are in line',
    'I7, C4',
    [['promotion.ts', 'if (isThere && state.log.durableSeq', 'if (state.log.durableSeq']],
  ),
  // Of honest disks any log would do: every member has all that was committed, and in `writeback` one that is whole
  // gets the lead. The choice is for disks that lie (SPEC section 1), so these are met over the store of the engine.
  storeBug(
    'its own log is always the chosen one',
    'I7, C4',
    [['replication/log-choice.ts', 'if (compareIds(id, bestId) <= 0) continue', 'continue']],
    { looksAt: focusOn('rottenTails') },
  ),
  storeBug(
    'the shortest log is chosen',
    'I7, I10, C4',
    [
      [
        'replication/log-choice.ts',
        'if (compareIds(id, bestId) <= 0) continue',
        'if (compareIds(id, bestId) >= 0) continue',
      ],
    ],
    { looksAt: focusOn('rottenTails') },
  ),
  bug('the log is cut where the commit point was told, not by ids', 'I7, C4', [
    [
      'log-choice.ts',
      'if (best === undefined || forkOf(',
      'if (best === undefined) {\n    cutBack(turn, state.log.commitSeq)\n    return beginEpoch(turn, ' +
        'primary, reconciling)\n  }\n  if (forkOf(',
    ],
  ]),
  bug('two logs agree on the next epoch record too', 'I5, C4', [
    [
      'record-id.ts',
      'const endA = Math.min(a.tail, (a.epochs[i + 1]?.[1] ?? Infinity) - 1)',
      'const endA = Math.min(a.tail, a.epochs[i + 1]?.[1] ?? Infinity)',
    ],
    [
      'record-id.ts',
      'const endB = Math.min(b.tail, (b.epochs[j + 1]?.[1] ?? Infinity) - 1)',
      'const endB = Math.min(b.tail, b.epochs[j + 1]?.[1] ?? Infinity)',
    ],
  ]),
  bug('the record that cuts is not synced', 'I7, C4', [
    [
      'promotion.ts',
      'peer.isFollowing && peer.fill === undefined && peer.durableSeq >= epochSeq,',
      'peer.isFollowing && peer.fill === undefined && peer.storedSeq >= epochSeq,',
    ],
    ['promotion.ts', 'if (isThere && state.log.durableSeq >= epochSeq && isFenced', 'if (isThere && isFenced'],
  ]),
  bug('a late reconcile cuts what was acknowledged since', 'I10, C4, design 1', [
    [
      'replica.ts',
      'let verified = previous.seq',
      'if (mayCut) cutBack(turn, previous.seq)\n  let verified = previous.seq',
    ],
  ]),
  bug('a cut is kept from the store', 'I5, C4', [['copy-log.ts', 'port.store.dropAbove(seq)', '']]),
  bug(
    'an epoch is taken up again after a restart',
    'I5, C3',
    [
      [
        'candidate.ts',
        "if (startChange(turn, 'renew', withPrimary(config, node, port.nonce()))) state.role = 'candidate'",
        'state.promise = { epoch: config.epoch - 1, primary: node }\n  beginReconcile(turn)',
      ],
      ['candidate.ts', 'import { wakeBy }', "import { beginReconcile } from './promotion.ts'\nimport { wakeBy }"],
    ],
  ),
  bug('a copy outside the set stands', 'I12, C3', [
    [
      'configuration-change.ts',
      "if (config !== undefined && !config.config.inSync.includes(options.node)) return 'out'",
      '',
    ],
    [
      'configuration.ts',
      'if (!config.inSync.includes(candidate)) return undefined',
      'if (!config.inSync.includes(candidate)) return changed(config, { primary: candidate, inSync: ' +
        '[...config.inSync, candidate], epoch: config.epoch + 1, nonce })',
    ],
  ]),
  bug('a copy that is not consistent stands', 'I12, C3', [
    ['configuration-change.ts', "if (consistency.state !== 'consistent') return 'out'", ''],
  ]),
  bug('a copy that lost power takes the place of one that did not', 'I18, C3, design 10', [
    ['candidate.ts', 'boolean => !isWhole', 'boolean => isWhole === undefined'],
  ]),
  bug(
    'the next restart forgets what a boot took away',
    'I18, C3, S6',
    [['replica.ts', '{ promise, ...wholeBootOf(state) }', '{ promise, wholeBoot: state.boot }']],
    { looksAt: focusOn('power') },
  ),
  bug(
    'who may lack something has a say beside who does not',
    'I7, C4, S6',
    [['log-choice.ts', '(isWholeThere && !peer.report!.isWhole)', 'false']],
    { looksAt: focusOn('silences') },
  ),
  bug(
    'a copy filled from who lacks something counts as whole',
    'I18, C4, S6',
    [['fill-target.ts', 'state.isWhole = message.isWhole', 'state.isWhole = true']],
    { looksAt: focusOn('loneWitnesses'), caughtBy: 'test/engine/replication/late-news.test.ts' },
  ),
  bug(
    'a member that was not heard in time is brought in line',
    'I10, C4, S6',
    [
      [
        'reconcile.ts',
        'if (mayMiss && (report.commitSeq > fork || (report.isWhole && report.tail > fork))) {',
        'if (mayMiss && report.epochs.length < 0) {',
      ],
    ],
    { looksAt: focusOn('silences') },
  ),
  bug(
    'it does not wait for a member that kept its power',
    'I7, C4, design 11',
    [
      [
        'promotion.ts',
        "const mayLetGo = isLate && (phase === 'syncing' || isSafe || isLost)",
        'const mayLetGo = isLate',
      ],
    ],
    { looksAt: focusOn('power') },
  ),
  bug(
    'whoever was started anew counts as one that lost its power',
    'I22, S6',
    [['copy-state.ts', 'isFresh || facts.wholeBoot === stored.boot', 'isFresh']],
    { looksAt: ({ faults, mode }) => faults.includes('kill-of-all') && mode === 'writeback' },
  ),
  bug(
    'a session goes on after what it was told is gone',
    'I13, S6, design 11',
    [
      [
        'log-choice.ts',
        'keepAttach(turn, withBroken(state.attach, Math.max(...generations)), undefined)',
        'void generations',
      ],
    ],
    { looksAt: focusOn('power') },
  ),
  // What the others have is not in memory any more, and that is why it would go: here two records stay longer.
  bug(
    'an amnesiac member is kept',
    'I18, C7',
    [
      ['commit.ts', 'let floor = log.appliedSeq', 'let floor = log.appliedSeq - (log.window.bytes < 8192 ? 2 : 0)'],
      [
        'peer-reports.ts',
        "storedSeq < peer.storedSeq ||\n    report.consistency.state !== 'consistent' ||\n    !report.isWhole " +
          '||\n    report.lostSlices.length > 0',
        "report.consistency.state !== 'consistent'",
      ],
    ],
    { looksAt: focusOn('power') },
  ),
  bug(
    'what a copy accepted since it is back counts as stored',
    'I18, I6, W3, C7',
    [['peer-reports.ts', 'const storedSeq = Math.min(fork, report.durableSeq)', 'const storedSeq = fork']],
    {
      // It restarts, and takes records for longer than its disk needs to sync the last one.
      looksAt: ({ mode, disk, faults }) => mode === 'durable' && disk.syncMs[1] > 1 && faults.includes('crash'),
    },
  ),
  // One of both would do: an instance ends before its records are gone.
  bug(
    'what was stored in another term, by whoever ran then, counts',
    'I18, I6, W3',
    [
      ['primary.ts', 'if (message.epoch < primary.sinceEpoch || message.epoch > primary.epoch) return\n', ''],
      ['primary.ts', 'if (peer.instance !== instance) return askAnew(turn, peer, instance)\n  if (!peer', 'if (!peer'],
    ],
    { looksAt: focusOn('forgottenTails') },
  ),
  // Whoever answers anew says what it has; what its former self had stored is lost when its disk lied.
  storeBug(
    'the answer of a former instance stands',
    'I7, C4, design 20',
    [
      [
        'replication/peer-reports.ts',
        'peer.report = undefined\n' +
          '  peer.isFollowing = false\n' +
          '  peer.fillId = peer.storedSeq = peer.durableSeq = 0\n' +
          "  if (reconciling.phase === 'fetching') reconciling.phase = 'collecting'",
        '',
      ],
    ],
    { looksAt: focusOn('rottenTails') },
  ),
  bug(
    'a log that cannot be fetched is waited for',
    'I22, C4, design 12',
    [
      [
        'log-choice.ts',
        "startChange(turn, 'pass-on', withSuccessor(state.config!.config, from, port.nonce()))\n    return",
        'return',
      ],
    ],
    { looksAt: focusOn('power', 'keptSet') },
  ),
  bug('a member that may not leave is not filled where it is', 'I22, C4, design 12', [
    ['peer-reports.ts', 'if (shrunk !== undefined || turn.state.change !== undefined) return', 'return'],
  ]),
  bug(
    'a forced history keeps the commit point it was told',
    'I10, C9, design 25',
    [['replica.ts', 'state.isFollowing = true\n    log.toldCommitSeq = log.commitSeq', 'state.isFollowing = true']],
    { looksAt: focusOn('staleCommits', 'outsiders', 'laggards') },
  ),
  bug('a copy whose disk failed goes on', 'I14', [['copy.ts', 'return fence(turn, event.reason)', 'return']]),
]
