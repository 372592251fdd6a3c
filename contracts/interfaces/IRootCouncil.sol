// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITrustDomain} from "./ITrustDomain.sol";

/// @title IRootCouncil
/// @notice Weighted roots that decide together: the governor, and the guardian, of a trust domain.
/// @dev Members hold seats, numbered 0 to 127. Weights stand in numbered tables that are written once: a round names
/// the table of its opening, so that what is frozen can not change. A round is approved while the votes that stand
/// suffice, until it is executed or its deadline comes: a vote can be withdrawn for as long, and a removed member's is
/// struck. Executed and Rejected are for ever.
interface IRootCouncil {
    /// @notice What a member is. It sets its first weight and its weight's bounds; only roots propose decisions.
    enum Role {
        None,
        Ordinary,
        Intermediate,
        Root
    }

    /// @notice What a round is for, and so how much has to agree.
    /// @dev Decision: any calls that `effectOf` knows, by the council's rule. Suspension: one authority, by more than
    /// one third of the weight; while it cools after a lift by one half at least, and then more than a half against it
    /// is final, too. Lift: one authority, by more than one half. Suspension and Lift count weight alone, wait for
    /// nothing, and any member opens them. Approvals that stand count until the deadline: who approved a suspension
    /// that others brought about sooner had better withdraw.
    enum Kind {
        Decision,
        Suspension,
        Lift
    }

    /// @notice Where a round stands.
    enum State {
        Unknown,
        Open,
        Approved,
        Rejected,
        Expired,
        Executed
    }

    /// @notice A member's vote; None is none, or one withdrawn.
    enum Choice {
        None,
        Approve,
        Reject
    }

    /// @notice How much has to agree to a decision.
    /// @dev MoreThanTwoThirds: strictly more than two thirds of the frozen weight and of the heads (below four members:
    /// every head). Slide: (2 * faults + 1) average weights, as the proof of concept published it; see docs/council.md
    /// for when that is safe.
    enum Rule {
        MoreThanTwoThirds,
        Slide
    }

    /// @notice What a call does to what is trusted: Adds waits for the execution delay, Removes does not.
    enum Effect {
        Unknown,
        Adds,
        Removes
    }

    /// @notice Why a relayed vote was skipped.
    /// @dev What is looked at first stands first, but for InvalidChoice, which is looked at after NotAVoter.
    enum Skipped {
        NotAVoter,
        WrongNonce,
        Late,
        InvalidSignature,
        NothingChanged,
        NoncesExhausted,
        InvalidChoice
    }

    /// @notice One of the first members.
    struct Founder {
        address account;
        Role role;
    }

    /// @notice One call of a round, on the domain, its registries or the council.
    struct Call {
        address target;
        bytes data;
    }

    /// @notice A round's contents. The round's id is `roundIdOf` them.
    /// @param deadline The first second in which the round is over, decided or not.
    /// @param salt Tells apart rounds that are otherwise the same.
    struct Proposal {
        Kind kind;
        Call[] calls;
        uint64 deadline;
        bytes32 salt;
    }

    /// @notice A vote that its voter signed (EIP-712) and anyone brings.
    /// @dev Vote(bytes32 round,address voter,uint8 choice,uint8 nonce,uint64 deadline), in the EIP-712 domain
    /// ("dpki RootCouncil", "1", chain id, council).
    /// @param choice A Choice. Its number, so that one that is none is skipped like any other vote that does not count.
    /// @param nonce How many votes of this voter this round has counted before.
    /// @param deadline The last second in which the signature may be brought.
    struct Vote {
        address voter;
        uint8 choice;
        uint8 nonce;
        uint64 deadline;
        bytes signature;
    }

    /// @notice The weights of a role: 1 <= minimum <= initial <= maximum.
    struct Bounds {
        uint16 initial;
        uint16 minimum;
        uint16 maximum;
    }

    /// @notice What the council can change about itself.
    /// @param ordinary Weights of ordinary members.
    /// @param intermediate Weights of intermediate members.
    /// @param root Weights of roots.
    /// @param gain What a settled round adds for a vote with the outcome.
    /// @param against What it takes for a vote against the outcome; at least twice `gain`.
    /// @param absent What it takes for no vote, when the round stood open for `attendance`; at least `gain`.
    /// @param seniority What it adds, besides `gain`, after `seniorAfter`; at most `gain`.
    /// @param seniorAfter How long a member has to have sat for `seniority`, in seconds.
    /// @param epoch Weights move at most once in this time, in seconds.
    /// @param attendance How long a round has to have stood open before absence counts, in seconds.
    /// @param delay How long an approved round that adds trust waits, in seconds.
    /// @param cooling How long after a lift a suspension needs one half, in seconds.
    /// @param longest The longest that a round may stand open, in seconds.
    /// @param rule How much has to agree to a decision.
    /// @param faults How many faulty members Slide tolerates; zero with MoreThanTwoThirds.
    struct Parameters {
        Bounds ordinary;
        Bounds intermediate;
        Bounds root;
        uint16 gain;
        uint16 against;
        uint16 absent;
        uint16 seniority;
        uint32 seniorAfter;
        uint32 epoch;
        uint32 attendance;
        uint32 delay;
        uint32 cooling;
        uint32 longest;
        Rule rule;
        uint8 faults;
    }

    /// @notice A member's seat; all zero when free. One word.
    /// @param since When the member took it.
    struct Seat {
        address account;
        Role role;
        uint64 since;
    }

    /// @notice Everybody's weight, and how much has to agree, between two changes. Written once. Nine words.
    /// @param weights The weights of the 128 seats, 16 bits each, seat 0 lowest in the first word; zero when free.
    /// @param electorate Bit `n` is set when seat `n` is taken.
    /// @param heads How many seats are taken.
    /// @param cap The most that one member counts in a round (from four members on: just below one third of `total`).
    /// @param total The sum of the weights, each capped.
    /// @param rule How much has to agree to a decision.
    /// @param faults How many faulty members Slide tolerates.
    struct Table {
        uint256[8] weights;
        uint128 electorate;
        uint8 heads;
        uint16 cap;
        uint32 total;
        Rule rule;
        uint8 faults;
    }

    /// @notice A round. Bitmaps are of seats: bit `n` is seat `n`. Three words: up to `approvedAt`, the two bitmaps of
    /// votes, and the rest. Weights are counted as the round's table caps them.
    /// @param table The table of its opening: what each vote weighs, and who may vote.
    /// @param settled Whether it is over and done with: it holds nobody up, and moves no weights any more.
    /// @param proposer The seat that opened it.
    /// @param delay How long it waits between approval and execution, in seconds.
    /// @param approvedAt When the votes last came to suffice; zero while they do not.
    /// @param approvals Who approves now.
    /// @param rejections Who rejects now.
    /// @param struck Members of then who were removed since; their weight stays in the denominator.
    struct Round {
        Kind kind;
        State state;
        bool settled;
        uint8 proposer;
        uint32 table;
        uint32 delay;
        uint48 openedAt;
        uint48 deadline;
        uint48 approvedAt;
        uint128 approvals;
        uint128 rejections;
        uint128 struck;
        uint32 approvalWeight;
        uint32 rejectionWeight;
        uint32 struckWeight;
        uint8 approvalHeads;
        uint8 rejectionHeads;
        uint8 struckHeads;
    }

    /// @notice The council was founded for `domain`. Emitted once, before its members and parameters.
    event CouncilFounded(address indexed domain);

    /// @notice `account` took `seat`.
    event MemberAdded(address indexed account, uint8 seat, Role role);

    /// @notice `account` left `seat`; its votes are struck from every round that is not settled.
    event MemberRemoved(address indexed account, uint8 seat);

    /// @notice A member's role changed, and its weight to the role's first.
    event RoleChanged(address indexed account, Role previous, Role current);

    /// @notice The parameters changed.
    event ParametersChanged(Parameters parameters);

    /// @notice A new table of weights stands. Comes after what caused it: MemberAdded, MemberRemoved, RoleChanged,
    /// ParametersChanged, or RoundSettled with `moved`.
    event WeightsChanged(uint32 indexed table, uint256[8] weights, uint128 electorate, uint16 cap, uint32 total);

    /// @notice A round was opened.
    event RoundOpened(
        bytes32 indexed round,
        address indexed proposer,
        Kind indexed kind,
        uint32 table,
        uint32 delay,
        Proposal proposal
    );

    /// @notice A vote was counted; None withdrew the one before.
    /// @param nonce How many of this voter this round had counted before.
    event VoteCast(bytes32 indexed round, address indexed voter, Choice choice, uint8 nonce);

    /// @notice A relayed vote was not counted.
    event VoteSkipped(bytes32 indexed round, address indexed voter, Skipped reason);

    /// @notice A removed member no longer counts in a round that is not settled.
    event VoteStruck(bytes32 indexed round, address indexed voter);

    /// @notice The votes suffice; the round may be executed from `executableFrom` on.
    event RoundApproved(bytes32 indexed round, uint64 executableFrom);

    /// @notice The votes no longer suffice: one was withdrawn or struck, or a suspension's authority began to cool.
    event RoundReopened(bytes32 indexed round);

    /// @notice Approval can no longer be reached, or the proposer was removed.
    event RoundRejected(bytes32 indexed round);

    /// @notice Every call of the round was made.
    event RoundExecuted(bytes32 indexed round, address indexed by);

    /// @notice The round is over and done with.
    /// @param moved Whether a weight moved by it; WeightsChanged follows when it did.
    event RoundSettled(bytes32 indexed round, State outcome, bool moved);

    /// @notice The caller may not do this: only members propose, only roots propose decisions, and only an executed
    /// round changes members and parameters.
    error RootCouncilUnauthorized(address caller);

    /// @notice A council can not begin without a domain.
    error RootCouncilZeroDomain();

    /// @notice Neither zero nor the council itself can be a member.
    error RootCouncilInvalidMember(address account);

    /// @notice The account has a seat already; it has at most one.
    error RootCouncilAlreadyMember(address account);

    /// @notice The account has no seat.
    error RootCouncilUnknownMember(address account);

    /// @notice The role is none, or the one that the member has.
    error RootCouncilInvalidRole(Role role);

    /// @notice All 128 seats are taken.
    error RootCouncilFull();

    /// @notice The parameters break a rule that is said at `Parameters`.
    error RootCouncilInvalidParameters();

    /// @notice After this change no decision could ever be reached: no root, or too few members for the rule.
    error RootCouncilUnreachable();

    /// @notice A round makes at least one call.
    error RootCouncilNoCalls();

    /// @notice A call that is none of the council's business, or not of this kind of round.
    error RootCouncilForbiddenCall(uint256 index, address target, bytes4 selector);

    /// @notice The deadline leaves no second to execute in, or lies further ahead than the parameters allow.
    error RootCouncilInvalidDeadline(uint64 deadline, uint256 earliest, uint256 latest);

    /// @notice There is or was a round of the same contents; another salt makes another one.
    error RootCouncilKnownRound(bytes32 round);

    /// @notice The proposer has a round of this sort open; it has to end and be settled first.
    error RootCouncilOpenRound(bytes32 round);

    /// @notice The round's state does not allow this: there is no such round, it is over, or not approved.
    error RootCouncilUnexpectedState(bytes32 round, State state);

    /// @notice The account had no seat when the round was opened, or was removed since.
    error RootCouncilNotAVoter(bytes32 round, address account);

    /// @notice The voter's vote is this one already.
    error RootCouncilNothingChanged(bytes32 round, address voter);

    /// @notice The voter changed its mind 255 times in this round; it stays at the last.
    error RootCouncilNoncesExhausted(bytes32 round, address voter);

    /// @notice It is too early to execute the round (its delay has not passed) or to settle it (it was rejected by less
    /// than most, and others may still want to be seen).
    error RootCouncilTooEarly(bytes32 round, uint256 from);

    /// @notice A call of the round reverted, with `reason`. All of it was undone.
    error RootCouncilCallFailed(bytes32 round, uint256 index, bytes reason);

    /// @notice A round that is being executed called what is open to members or to everybody.
    error RootCouncilReentered();

    /// @notice The round was settled before.
    error RootCouncilAlreadySettled(bytes32 round);

    // -- members -----------------------------------------------------------------------------------------------------

    /// @notice Opens a round. Decisions: roots. Suspension and Lift: any member. Opening is no vote.
    /// @dev A member has at most one Decision, and at most one round of the two other kinds, that is not settled. The
    /// deadline is at least a second after the delay, and `longest` away at most. A Decision's calls are all known to
    /// `effectOf`; Suspension and Lift make one call, of the certificate registry's function of that name.
    /// @return id The round's id.
    function propose(Proposal calldata proposal) external returns (bytes32 id);

    /// @notice Votes, changes a vote, or withdraws it with None. Contract wallets vote this way.
    /// @dev Members of the round's table who were not removed since. Uses up a nonce, so that no signature from before
    /// counts afterwards. In a rejected round that is not settled votes count still, for whose weight moves.
    function vote(bytes32 id, Choice choice) external;

    // -- anyone ------------------------------------------------------------------------------------------------------

    /// @notice Brings signed votes. One that does not count is skipped, with an event, and the rest goes on.
    /// @dev Whether they suffice is judged once, after the last.
    function relay(bytes32 id, Vote[] calldata votes) external;

    /// @notice Brings signed votes, if any, and then makes the calls of a round that is approved and has waited. When
    /// one fails, all of it is undone and the round stays as it was. Settles the round.
    function execute(Proposal calldata proposal, Vote[] calldata votes) external;

    /// @notice Settles a rejected or expired round: its proposer may open another one. Moves weights when most of the
    /// weight rejected a Decision, nothing otherwise.
    /// @dev A Decision that was rejected by less than most can be settled `attendance` after its opening, or from its
    /// deadline on: so long the others may vote too.
    function settle(bytes32 id) external;

    // -- the council itself, by an executed round --------------------------------------------------------------------

    /// @notice Gives `account` the lowest free seat, with its role's first weight.
    function addMember(address account, Role role) external;

    /// @notice Takes `account`'s seat, strikes its votes from every round that is not settled, and ends its own rounds.
    function removeMember(address account) external;

    /// @notice Changes a member's role, and its weight to the role's first. Strikes nothing.
    function setRole(address account, Role role) external;

    /// @notice Changes the parameters, and each weight to the nearest within its new bounds.
    /// @dev What rounds froze stays as it was; epoch, attendance, longest and cooling act at once.
    function setParameters(Parameters calldata parameters_) external;

    // -- views -------------------------------------------------------------------------------------------------------

    /// @notice The domain that the council was founded for.
    function domain() external view returns (ITrustDomain);

    /// @notice The parameters that stand.
    function parameters() external view returns (Parameters memory);

    /// @notice Who has the seat; all zero when nobody does.
    function seat(uint8 number) external view returns (Seat memory);

    /// @notice The seat of `account`; reverts with RootCouncilUnknownMember when it has none.
    function seatOf(address account) external view returns (uint8);

    /// @notice Whether `account` has a seat.
    function isMember(address account) external view returns (bool);

    /// @notice The number of the table that stands now; the first is 1.
    function currentTable() external view returns (uint32);

    /// @notice A table; all zero when there is none.
    function table(uint32 number) external view returns (Table memory);

    /// @notice When a settlement last moved weights; zero for never.
    function lastMoved() external view returns (uint64);

    /// @notice Where a round stands at this block's time, and the votes that stand.
    function round(bytes32 id) external view returns (Round memory);

    /// @notice Where a round stands at this block's time.
    function stateOf(bytes32 id) external view returns (State);

    /// @notice What `account` votes in a round, and the nonce of its next vote; nothing when it may not vote in it.
    function voteOf(bytes32 id, address account) external view returns (Choice choice, uint8 nonce);

    /// @notice What the account has open: its Decision, and its Suspension or Lift; zero for none.
    function openRoundsOf(address account) external view returns (bytes32 decision, bytes32 alarm);

    /// @notice Until when suspending the authority needs one half; zero when it was never lifted.
    function coolingUntil(bytes32 ca) external view returns (uint64);

    /// @notice The round's id: keccak256 of the ABI encoding of its contents.
    function roundIdOf(Proposal calldata proposal) external view returns (bytes32);

    /// @notice What a call of a Decision would do; Unknown is refused.
    function effectOf(address target, bytes calldata data) external view returns (Effect);
}
