"""Every way in which other gateways and meters are known to fail with money has tests here, by name: the list, kept whole.

Sources are the projects' own issues and pull requests. A line without a test is not possible, nor a test that is not there.
"""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

FAILURES: dict[str, tuple[str, ...]] = {
    # -- how gateways fail at budgets ---------------------------------------------------------------------------------
    "check and record are apart, so a concurrent burst passes (LiteLLM #34732, #26672, #40095)": (
        "test_a_concurrent_burst_does_not_pass_a_budget", "test_256_concurrent_callers_never_pass_the_amount",
        "test_callers_at_once_never_pass_a_budget_and_can_use_it", "test_a_burst_of_turns_on_one_socket_cannot_overspend",
    ),
    "whole API paths are not metered (LiteLLM #38176, Bifrost #2873)": (
        "test_an_unknown_path_of_a_provider_is_recorded_as_unmetered_with_the_reason",
        "test_a_budget_that_is_used_up_stops_what_cannot_be_metered_too",
    ),
    "streamed requests are priced 0 (LiteLLM #37923)": (
        "test_a_stream_without_any_usage_is_counted_from_its_text",
        "test_a_chat_stream_is_asked_for_usage_and_the_client_does_not_see_the_answer_to_that",
    ),
    "a reservation is never released (LiteLLM #27639, #36592, #35569, #40050)": (
        "test_a_hold_is_released_on_every_way_out", "test_a_caller_cancelled_while_it_is_admitted_leaves_no_hold",
    ),
    "a dead process pins its holds, a reset in flight goes negative (LiteLLM #30330)": (
        "test_a_hold_from_another_container_is_settled_when_it_was_not_renewed_in_time",
        "test_a_window_that_ends_while_a_call_is_under_way_goes_neither_negative_nor_wrong",
    ),
    "a hold is cut to the headroom instead of refused (LiteLLM #26845)": (
        "test_a_hold_is_refused_and_not_quietly_made_smaller_where_there_is_no_room",
    ),
    "an outage of the store fails open despite the flag (LiteLLM #33923)": (
        "test_a_store_that_fails_is_an_error_and_never_room",
        "test_a_ledger_that_cannot_record_refuses_the_turn_under_a_closed_policy",
    ),
    "a counter is restored from an old snapshot (LiteLLM #30684)": ("test_one_process_sees_what_another_has_just_spent",),
    "counters per replica, flushes lost at shutdown, zero after a restart (Bifrost #3547, #3548, #5925)": (
        "test_nothing_is_lost_by_a_restart_at_any_moment", "test_four_processes_on_one_file_never_pass_an_amount_and_use_it_up",
        "test_kill_9_loses_no_acknowledged_row_and_leaves_no_hold",
    ),
    "no reset, or rerouted early (LiteLLM #24675, Bifrost #5770)": (
        "test_windows_end_without_a_job_and_leave_each_other_alone", "test_a_budget_reroutes_neither_early_nor_late",
    ),
    "enforcement is fed by a projection that never ran (LangWatch)": ("test_enforcement_message_and_screen_say_the_same_number",),
    "reserve and commit, 1,000 at once": ("test_callers_at_once_never_pass_a_budget_and_can_use_it",),
    # -- what their users complain of -----------------------------------------------------------------------------------
    "1 concurrent requests overspend (Envoy AI gateway #2394)": ("test_four_processes_share_one_budget_and_each_gets_its_turn",),
    "2 reservations block honest traffic (LiteLLM #27509, #38647)": (
        "test_honest_calls_are_not_refused_for_holds_and_no_burst_overspends",
    ),
    "3 streams without usage cost nothing (claude-code-hub #1165)": ("test_a_whole_stream_without_figures_is_counted_by_its_text",),
    "4 disconnects are free (LiteLLM #33736, #37558, #36008)": (
        "test_a_client_that_leaves_pays_for_what_was_used", "test_a_client_that_leaves_in_the_middle_is_charged_for_what_came",
        "test_a_client_that_leaves_right_after_the_last_event_has_had_its_whole_answer",
    ),
    "5 compressed streams give empty usage (vm0 #8884)": ("test_every_dialect_may_be_cut_and_every_encoding_split_at_every_byte",),
    "6 cache tokens count twice or not at all (browser-use #5305, LiteLLM #11364)": (
        "test_cached_prompt_tokens_are_a_part_of_the_prompt", "test_anthropic_cache_writes_and_searches_are_recorded_as_billed",
    ),
    "7 one-hour cache writes priced as five-minute ones (claude-usage #162, LiteLLM #42663)": (
        "test_cache_writes_are_told_apart_by_how_long_they_last", "test_a_newer_sum_of_cache_writes_outweighs_an_older_split",
    ),
    "8 an unknown model costs nothing, so that caps never fire (LiteLLM #36561)": (
        "test_a_model_without_a_price_still_counts", "test_an_unknown_model_has_no_cost_and_counts_at_its_providers_ceiling",
    ),
    "9 tiers are priced wrong (tokscale #862, LiteLLM #13810)": (
        "test_the_tier_of_the_bound_applies_not_the_base_rate", "test_the_answers_tier_counts_before_the_one_asked_for",
    ),
    "10 thinking and server tools are missed (ai-tally #376)": (
        "test_thinking_is_part_of_the_output_and_terms_are_kept",
        "test_an_agents_searches_are_counted_and_it_is_priced_under_its_own_name",
    ),
    "11 whole endpoints skip the budget (Bifrost #2873, LiteLLM #10750)": ("test_an_unknown_path_is_forwarded_and_recorded_as_unmetered",),
    "12 resets do not happen, or erase real spend (LiteLLM #7129, #38686)": ("test_a_new_day_starts_empty_without_any_reset",),
    "13 the reset is at the wrong time (LiteLLM #10288, #41211)": (
        "test_a_day_of_odd_length_counts_every_instant_in_one_day", "test_a_day_is_as_long_as_its_zone_makes_it",
    ),
    "14 alerts in heaps, or none (LiteLLM #3738, #35800)": (
        "test_a_threshold_and_the_end_of_a_budget_are_told_once_each",
        "test_what_could_not_be_told_is_told_later_and_a_restart_tells_nothing_again", "test_two_processes_never_claim_the_same_alert",
    ),
    "15 blocked agents storm (puffo-agent #327)": (
        "test_a_refusal_stops_an_sdk_at_its_first_try_and_is_shown_in_full", "test_a_refusal_ends_the_prompt_at_once_and_is_shown",
        "test_a_refused_response_create_is_answered_with_the_error_frame_on_which_codex_stops",
    ),
    "16 a downgrade breaks the request (claude-code #12914)": (
        "test_claude_that_thinks_by_budget_gets_a_budget_below_the_cap", "test_a_beta_goes_together_with_the_field_it_allows",
        "test_thoughts_signed_for_another_model_are_taken_out_of_a_conversation_that_moves",
        "test_an_instruction_amid_the_conversation_is_a_reminder_for_models_older_than_its_role",
        "test_a_rewrite_that_the_provider_refuses_is_surfaced_or_sent_as_asked",
    ),
    "17 a downgrade wastes the cache (TeXRA #2548)": (
        "test_a_turn_stays_with_the_model_it_began_with_and_the_next_one_is_free_again",
        "test_a_rewrite_that_costs_as_much_or_more_is_left_out",
    ),
    "18 budgets that never act (langwatch #421, Bifrost #5673, LiteLLM #27381)": (
        "test_a_block_really_blocks", "test_a_candidate_that_nobody_enforces_is_never_an_overdraft_of_another",
    ),
    "19 fails open in silence (LiteLLM #35529)": ("test_a_closed_ledger_lets_the_call_go_when_the_policy_is_open_and_counts_it",),
    "20 identity can be forged (LiteLLM #36121, #11083)": (
        "test_every_identity_header_is_removed_whatever_its_case", "test_claims_are_recorded_and_no_budget_goes_by_them",
        "test_a_budget_and_a_model_rule_refuse_whoever_is_less_sure_than_they_demand",
    ),
    "21 nobody sees what is left, no quick raise (copilot-cli #1653)": (
        "test_the_page_the_tool_the_warning_and_the_alert_say_the_same", "test_an_agent_asks_for_its_budgets_over_mcp",
        "test_a_grant_raises_a_budget_from_the_next_call_on_and_ends_by_itself",
        "test_a_grant_reaches_a_proxy_that_is_running_in_another_process",
    ),
    "22 figures from logs are wrong (ccusage #866)": ("test_an_sdk_gets_its_answers_and_the_ledger_equals_the_bill",),
    "23 trust and proxy variables (claude-code #10458)": ("test_every_runtime_that_is_here_trusts_us_with_our_variables",),
    "24 WebSockets (contextspy #6)": (
        "test_each_turn_of_a_socket_is_held_for_and_settled_as_a_call_of_its_own", "test_an_upgrade_is_answered_with_426",
    ),
    "25 a plan's traffic counts as spending, or the reverse (claude-code #37686)": (
        "test_a_plans_call_stays_out_of_budgets_unless_the_policy_counts_it",
        "test_a_plans_token_beside_a_key_does_not_take_a_call_out_of_the_budgets",
    ),
    "26 caps inside the client do not hold (claude-agent-sdk #1273)": (
        "test_a_session_has_a_budget_of_its_own_and_a_claimed_one_never_meets_ours",
    ),
    "27 retries are paid twice (better-ccflare #465)": (
        "test_a_retry_is_a_call_of_its_own_and_a_repeated_settlement_is_not", "test_every_call_is_sent_once",
    ),
    "28 locks of SQLite break the work (one-api #818)": (
        "test_a_writer_that_waits_never_fails_a_call_and_nobody_prunes_in_the_road",
        "test_a_program_that_holds_the_file_stops_the_call_but_not_the_loop",
    ),
    "29 no attribution, and a dead proxy stops everybody (budi ADR-0089)": (
        "test_a_call_says_which_user_program_repository_and_branch_it_comes_from", "test_a_child_keeps_everything_else_of_its_environment",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def known() -> frozenset[str]:
    """The names of all tests."""
    found = (re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE) for file in TESTS.rglob("test_*.py"))
    return frozenset(name for names in found for name in names)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_that_others_had_is_tried_here(failure: str, known: frozenset[str]) -> None:
    assert FAILURES[failure]
    assert [name for name in FAILURES[failure] if name not in known] == []


def test_no_complaint_is_missing() -> None:
    numbers = [int(failure.split()[0]) for failure in FAILURES if failure[0].isdigit()]
    assert numbers == list(range(1, 30))
